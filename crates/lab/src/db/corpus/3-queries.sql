-- Lists, filters, orders.
SELECT * FROM orders ORDER BY id;
--| id:int4|customer:varchar|amount:numeric|placed:timestamp|day:date|paid:bool|weight:float8|note:bpchar
--| 1|ada|10.50|2026-11-01 10:30:00.25|2026-11-01|true|1.25|n       
--| 2|bob|20.00|2026-11-02 10:30:00.25|2026-11-02|false|2.5|n       
--| 3|ada|5.25|2026-11-02 10:30:00.25|2026-11-02|true|0.5|n       
--| 4|NULL|7.00|2026-12-31 10:30:00.25|2026-12-31|NULL|4|n       
SELECT o.*, 1 AS one FROM orders o WHERE o.id = 1;
--| id:int4|customer:varchar|amount:numeric|placed:timestamp|day:date|paid:bool|weight:float8|note:bpchar|one:int4
--| 1|ada|10.50|2026-11-01 10:30:00.25|2026-11-01|true|1.25|n       |1
SELECT id, customer FROM orders ORDER BY customer;
--| id:int4|customer:varchar
--| 1|ada
--| 3|ada
--| 2|bob
--| 4|NULL
SELECT id, customer FROM orders ORDER BY customer DESC;
--| id:int4|customer:varchar
--| 4|NULL
--| 2|bob
--| 1|ada
--| 3|ada
SELECT id FROM orders ORDER BY customer NULLS FIRST, id DESC;
--| id:int4
--| 4
--| 3
--| 1
--| 2
SELECT id FROM orders ORDER BY 1 LIMIT 2 OFFSET 1;
--| id:int4
--| 2
--| 3
SELECT TOP 2 id FROM orders ORDER BY id DESC;
--| id:int4
--| 4
--| 3
SELECT DISTINCT customer FROM orders ORDER BY 1;
--| customer:varchar
--| ada
--| bob
--| NULL
SELECT id AS order_id FROM orders WHERE order_id > 2 ORDER BY order_id;
--| ERROR: column "order_id" does not exist in orders
SELECT id * 2 AS twice, twice + 1 AS more FROM orders WHERE id = 1;
--| twice:int4|more:int4
--| 2|3
SELECT id FROM orders WHERE customer IN ('ada', 'eve') AND NOT paid IS NULL ORDER BY id;
--| id:int4
--| 1
--| 3
SELECT id FROM orders WHERE customer NOT IN ('ada') ORDER BY id;
--| id:int4
--| 2
SELECT id FROM orders WHERE id BETWEEN 2 AND 3 ORDER BY id;
--| id:int4
--| 2
--| 3
SELECT id FROM orders WHERE id NOT BETWEEN 2 AND 3 ORDER BY id;
--| id:int4
--| 1
--| 4
SELECT id FROM orders WHERE customer LIKE 'a%' OR customer LIKE '_ob' ORDER BY id;
--| id:int4
--| 1
--| 2
--| 3
SELECT id FROM orders WHERE customer ILIKE 'ADA' ORDER BY id;
--| id:int4
--| 1
--| 3
SELECT id FROM orders WHERE customer IS NULL;
--| id:int4
--| 4
SELECT id FROM orders WHERE paid ORDER BY id;
--| id:int4
--| 1
--| 3
SELECT id FROM orders WHERE paid IS NOT TRUE ORDER BY id;
--| id:int4
--| 2
--| 4
SELECT id FROM orders WHERE placed > '2026-11-02' ORDER BY id;
--| id:int4
--| 2
--| 3
--| 4
SELECT id FROM orders WHERE day = '2026-11-02' ORDER BY id;
--| id:int4
--| 2
--| 3
SELECT id FROM orders WHERE day < placed ORDER BY id;
--| id:int4
--| 1
--| 2
--| 3
--| 4

-- Groups.
SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer ORDER BY n DESC, customer;
--| customer:varchar|n:int8|total:numeric
--| ada|2|15.75
--| bob|1|20.00
--| NULL|1|7.00
SELECT customer, count(*) FROM orders GROUP BY 1 HAVING count(*) > 1;
--| customer:varchar|count:int8
--| ada|2
SELECT count(*), count(customer), count(DISTINCT customer) FROM orders;
--| count:int8|count:int8|count:int8
--| 4|3|2
SELECT sum(id), avg(id), min(id), max(id) FROM orders;
--| sum:int8|avg:int8|min:int4|max:int4
--| 10|2|1|4
SELECT sum(amount), avg(amount), sum(weight), avg(weight) FROM orders;
--| sum:numeric|avg:numeric|sum:float8|avg:float8
--| 42.75|10.69|8.25|2.0625
SELECT sum(id::bigint) FROM orders;
--| sum:numeric
--| 10
SELECT date_trunc('month', placed) AS month, count(*) FROM orders GROUP BY 1 ORDER BY 1;
--| month:timestamp|count:int8
--| 2026-11-01 00:00:00|3
--| 2026-12-01 00:00:00|1
SELECT upper(customer), max(amount) FROM orders GROUP BY upper(customer) ORDER BY 1;
--| upper:varchar|max:numeric
--| ADA|10.50
--| BOB|20.00
--| NULL|7.00
SELECT listagg(id, ',') WITHIN GROUP (ORDER BY id DESC) AS ids FROM orders;
--| ids:varchar
--| 4,3,2,1
SELECT customer, listagg(id::varchar, '-') WITHIN GROUP (ORDER BY id) AS ids FROM orders GROUP BY customer ORDER BY customer;
--| customer:varchar|ids:varchar
--| ada|1-3
--| bob|2
--| NULL|4
SELECT bool_or(paid), bool_and(paid) FROM orders;
--| bool_or:bool|bool_and:bool
--| true|false
SELECT max(day), min(placed) FROM orders;
--| max:date|min:timestamp
--| 2026-12-31|2026-11-01 10:30:00.25
SELECT count(*) FROM orders WHERE id > 99;
--| count:int8
--| 0
SELECT sum(id) FROM orders WHERE id > 99;
--| sum:int8
--| NULL
SELECT customer, amount FROM orders GROUP BY customer;
--| ERROR: column "amount" must appear in the GROUP BY clause or be used in an aggregate function
SELECT customer, count(*) FROM orders;
--| ERROR: column "customer" must appear in the GROUP BY clause or be used in an aggregate function
SELECT median(id) FROM orders;
--| ERROR: feature not supported: median

-- Joins.
SELECT o.id, c.city FROM orders o JOIN customers c ON o.customer = c.name ORDER BY 1;
--| id:int4|city:varchar
--| 1|Bergen
--| 3|Bergen
SELECT o.id, c.city FROM orders o LEFT JOIN customers c ON o.customer = c.name ORDER BY 1;
--| id:int4|city:varchar
--| 1|Bergen
--| 2|NULL
--| 3|Bergen
--| 4|NULL
SELECT c.name, o.id FROM orders o RIGHT JOIN customers c ON o.customer = c.name ORDER BY 1, 2;
--| name:varchar|id:int4
--| ada|1
--| ada|3
--| eve|NULL
SELECT c.name, o.id FROM orders o FULL OUTER JOIN customers c ON o.customer = c.name ORDER BY 1, 2;
--| name:varchar|id:int4
--| ada|1
--| ada|3
--| eve|NULL
--| NULL|2
--| NULL|4
SELECT count(*) FROM orders CROSS JOIN customers;
--| count:int8
--| 8
SELECT count(*) FROM orders, customers WHERE customer = name;
--| count:int8
--| 2
SELECT a.id, b.id FROM orders a JOIN orders b ON a.day = b.day AND a.id < b.id;
--| id:int4|id:int4
--| 2|3
SELECT id FROM orders o JOIN customers c ON o.customer = c.nothing;
--| ERROR: column c.nothing does not exist

-- Queries inside queries.
WITH paid_orders AS (SELECT * FROM orders WHERE paid), n AS (SELECT count(*) AS c FROM paid_orders) SELECT c FROM n;
--| c:int8
--| 2
WITH x(a, b) AS (SELECT id, customer FROM orders) SELECT a FROM x WHERE b = 'bob';
--| a:int4
--| 2
SELECT t.n FROM (SELECT count(*) AS n FROM orders) t;
--| n:int8
--| 4
SELECT id FROM orders WHERE amount = (SELECT max(amount) FROM orders);
--| id:int4
--| 2
SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM customers c WHERE c.name = o.customer) ORDER BY id;
--| id:int4
--| 1
--| 3
SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM customers c WHERE c.name = o.customer) ORDER BY id;
--| id:int4
--| 2
--| 4
SELECT id FROM orders WHERE customer IN (SELECT name FROM customers) ORDER BY id;
--| id:int4
--| 1
--| 3
SELECT id, (SELECT city FROM customers c WHERE c.name = o.customer) AS city FROM orders o ORDER BY id;
--| id:int4|city:varchar
--| 1|Bergen
--| 2|NULL
--| 3|Bergen
--| 4|NULL
SELECT count(*) FROM (SELECT 1);
--| ERROR: subquery in FROM must have an alias

-- Set operations.
SELECT customer FROM orders UNION SELECT name FROM customers ORDER BY 1;
--| customer:varchar
--| ada
--| bob
--| eve
--| NULL
SELECT customer FROM orders UNION ALL SELECT name FROM customers ORDER BY customer;
--| customer:varchar
--| ada
--| ada
--| ada
--| bob
--| eve
--| NULL
SELECT name FROM customers EXCEPT SELECT customer FROM orders;
--| name:varchar
--| eve
SELECT name FROM customers INTERSECT SELECT customer FROM orders;
--| name:varchar
--| ada
SELECT 1 AS a UNION ALL SELECT 2.5;
--| a:numeric
--| 1.0
--| 2.5
SELECT 1 UNION SELECT true;
--| ERROR: UNION types integer and boolean cannot be matched

-- Windows.
SELECT id, row_number() OVER (PARTITION BY customer ORDER BY id) AS rn FROM orders ORDER BY id;
--| id:int4|rn:int8
--| 1|1
--| 2|1
--| 3|2
--| 4|1
SELECT id, rank() OVER (ORDER BY day) AS r, dense_rank() OVER (ORDER BY day) AS d FROM orders ORDER BY id;
--| id:int4|r:int8|d:int8
--| 1|1|1
--| 2|2|2
--| 3|2|2
--| 4|4|3
SELECT id, lag(id) OVER (ORDER BY id) AS before, lead(id, 2) OVER (ORDER BY id) AS after FROM orders ORDER BY id;
--| id:int4|before:int4|after:int4
--| 1|NULL|3
--| 2|1|4
--| 3|2|NULL
--| 4|3|NULL
SELECT id, sum(amount) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM orders ORDER BY id;
--| id:int4|running:numeric
--| 1|10.50
--| 2|30.50
--| 3|35.75
--| 4|42.75
SELECT id, first_value(id) OVER (PARTITION BY customer ORDER BY id) AS f FROM orders ORDER BY id;
--| id:int4|f:int4
--| 1|1
--| 2|2
--| 3|1
--| 4|4
SELECT id, avg(id) OVER (PARTITION BY customer) AS a FROM orders ORDER BY id;
--| id:int4|a:int8
--| 1|2
--| 2|2
--| 3|2
--| 4|4
