-- Types of literals and arithmetic.
SELECT 1 AS a, 3000000000 AS b, 1.50 AS c, 1e3 AS d, 'x' AS e, true AS f, null AS g;
--| a:int4|b:int8|c:numeric|d:float8|e:varchar|f:bool|g:varchar
--| 1|3000000000|1.50|1000|x|true|NULL
SELECT 7 / 2 AS whole, 7.0 / 2 AS decimal, 7 / 2.0::float8 AS float, 7 % 3 AS rest, -7 / 2 AS negative;
--| whole:int4|decimal:numeric|float:float8|rest:int4|negative:int4
--| 3|3.500000000000|3.5|1|-3
SELECT 0.1 + 0.2 AS sum, 1.5 * 2.25 AS product, 2 - 0.75 AS difference;
--| sum:numeric|product:numeric|difference:numeric
--| 0.3|3.375|1.25
SELECT 1 + '2' AS three, '4' * 2 AS eight;
--| three:int4|eight:int4
--| 3|8
SELECT 1 = 1.0 AS same, 'a' < 'b' AS less, 1 <> 2 AS different, null = null AS unknown;
--| same:bool|less:bool|different:bool|unknown:bool
--| true|true|true|NULL
SELECT 1 + true;
--| ERROR: operator does not exist: integer + boolean
--|   Hint: No operator matches the given name and argument type(s). You may need to add explicit type casts.
SELECT id + customer FROM orders;
--| ERROR: operator does not exist: integer + character varying
--|   Hint: No operator matches the given name and argument type(s). You may need to add explicit type casts.
SELECT 1 / 0;
--| ERROR: division by zero

-- Casts.
SELECT '42'::int AS i, ' 42 '::bigint AS b, 2.5::int AS rounded, '1.25'::decimal(10,1) AS d, 'yes'::bool AS t, 1::bool AS one;
--| i:int4|b:int8|rounded:int4|d:numeric|t:bool|one:bool
--| 42|42|3|1.3|true|true
SELECT 'abcdef'::varchar(3) AS cut, 12.5::varchar AS v, true::varchar AS b, 'ab'::char(4) AS c;
--| cut:varchar|v:varchar|b:varchar|c:bpchar
--| abc|12.5|true|ab  
SELECT '2026-11-23'::date AS d, '2026-11-23 10:00:00.5'::timestamp AS t, '2026-11-23T10:00:00Z'::timestamptz AS z;
--| d:date|t:timestamp|z:timestamptz
--| 2026-11-23|2026-11-23 10:00:00.5|2026-11-23 10:00:00+00
SELECT '2026-11-23 10:11:12'::timestamp::date AS d, '2026-11-23'::date::timestamp AS t;
--| d:date|t:timestamp
--| 2026-11-23|2026-11-23 00:00:00
SELECT CAST('7' AS SMALLINT) AS s, CONVERT(integer, '8') AS c;
--| s:int2|c:int4
--| 7|8
SELECT 'abc'::int;
--| ERROR: Invalid digit, Value 'a', Pos 0, Type: Integer
SELECT '12x'::int;
--| ERROR: Invalid digit, Value 'x', Pos 2, Type: Integer
SELECT 99999::smallint;
--| ERROR: smallint out of range
SELECT 3000000000::int;
--| ERROR: integer out of range
SELECT 'maybe'::bool;
--| ERROR: invalid input syntax for type boolean: "maybe"
SELECT 'soon'::timestamp;
--| ERROR: invalid input syntax for type timestamp: "soon"
SELECT 12345.678::decimal(5,2);
--| ERROR: Numeric data overflow (result precision)
--|   Detail: precision 5, scale 2
SELECT true::date;
--| ERROR: cannot cast type boolean to date
SELECT 'x'::money;
--| ERROR: type "money" does not exist

-- Times.
SELECT getdate() AS now, sysdate AS sys, current_date AS today;
--| now:timestamp|sys:timestamp|today:date
--| 2026-11-23 14:02:52.5|2026-11-23 14:02:52.5|2026-11-23
SELECT datediff(day, '2026-11-01', '2026-11-23') AS days, datediff('hour', '2026-11-23 10:59:00', '2026-11-23 11:01:00') AS hours;
--| days:int8|hours:int8
--| 22|1
SELECT datediff(month, '2026-01-31', '2026-02-01') AS months, datediff(week, '2026-11-21', '2026-11-22') AS weeks, datediff(year, '2025-12-31', '2026-01-01') AS years;
--| months:int8|weeks:int8|years:int8
--| 1|1|1
SELECT dateadd(day, 7, '2026-11-23') AS later, dateadd(month, 1, '2026-01-31'::date) AS short, dateadd(second, -90, '2026-11-23 00:00:00') AS before;
--| later:timestamp|short:timestamp|before:timestamp
--| 2026-11-30 00:00:00|2026-02-28 00:00:00|2026-11-22 23:58:30
SELECT date_trunc('hour', '2026-11-23 10:11:12'::timestamp) AS hour, date_trunc('week', '2026-11-23'::timestamp) AS monday, date_trunc('quarter', '2026-11-23'::timestamp) AS quarter;
--| hour:timestamp|monday:timestamp|quarter:timestamp
--| 2026-11-23 10:00:00|2026-11-23 00:00:00|2026-10-01 00:00:00
SELECT extract(year FROM '2026-11-23'::date) AS y, extract(dow FROM '2026-11-22'::date) AS sunday, extract(epoch FROM '2026-11-23'::timestamp) AS e;
--| y:int4|sunday:int4|e:float8
--| 2026|0|1795392000
SELECT date_part(minute, '2026-11-23 10:11:12'::timestamp) AS m, date_part('doy', '2026-02-01'::date) AS doy;
--| m:float8|doy:float8
--| 11|32
SELECT '2026-11-23 10:00:00'::timestamp + interval '90 minutes' AS t, '2026-11-23'::date - 1 AS d, '2026-11-23'::date - '2026-11-01'::date AS days;
--| t:timestamp|d:date|days:int8
--| 2026-11-23 11:30:00|2026-11-22|22
SELECT '2026-11-23 10:00:00'::timestamp - '2026-11-22 09:00:00'::timestamp AS i, interval '1 hour' * 2 AS two, interval '1 day' + interval '1 hour' AS both;
--| i:interval|two:interval|both:interval
--| 1 days 01:00:00|02:00:00|1 days 01:00:00
SELECT extract(epoch FROM placed - day::timestamp) AS s FROM orders WHERE id = 1;
--| s:float8
--| 37800.25
SELECT to_char('2026-11-23 14:02:52'::timestamp, 'YYYY-MM-DD HH24:MI') AS c, to_date('2026-11-23', 'YYYY-MM-DD') AS d, last_day('2026-02-10') AS l;
--| c:varchar|d:date|l:date
--| 2026-11-23 14:02|2026-11-23|2026-02-28
SELECT convert_timezone('UTC', '2026-11-23 10:00:00'::timestamp) AS u, add_months('2026-01-31'::date, 1) AS a;
--| u:timestamp|a:timestamp
--| 2026-11-23 10:00:00|2026-02-28 00:00:00

-- Texts.
SELECT trim('  a '), ltrim('xxa', 'x'), rtrim('a  '), btrim('--a--', '-'), upper('é a'), lower('AB');
--| btrim:varchar|ltrim:varchar|rtrim:varchar|btrim:varchar|upper:varchar|lower:varchar
--| a|a|a|a|É A|ab
SELECT len('héllo'), length('ab  '), char_length('x'), octet_length('é');
--| len:int4|length:int4|char_length:int4|octet_length:int4
--| 5|2|1|2
SELECT substring('abcdef', 2, 3), substring('abcdef' from 3), left('abc', 2), right('abc', 2), left('abc', -1);
--| substring:varchar|substring:varchar|left:varchar|right:varchar|left:varchar
--| bcd|cdef|ab|bc|ab
SELECT replace('aba', 'a', 'x'), split_part('a,b,c', ',', 2), strpos('abc', 'c'), position('b' in 'abc'), charindex('z', 'abc');
--| replace:varchar|split_part:varchar|strpos:int4|position:int4|charindex:int4
--| xbx|b|3|2|0
SELECT concat('a', 'b'), 'a' || 'b' || 1, lpad('7', 3, '0'), rpad('7', 3), reverse('abc'), repeat('ab', 2), initcap('hello world');
--| concat:varchar|?column?:varchar|lpad:varchar|rpad:varchar|reverse:varchar|repeat:varchar|initcap:varchar
--| ab|ab1|007|7  |cba|abab|Hello World
SELECT note || '|' AS padded, len(note) AS n FROM orders WHERE note = 'n   ' LIMIT 1;
--| padded:varchar|n:int4
--| n||1

-- Choices.
SELECT coalesce(null, customer, 'nobody') AS c FROM orders ORDER BY 1;
--| c:varchar
--| ada
--| ada
--| bob
--| nobody
SELECT nvl(null, 2) AS a, nvl2(1, 'x', 'y') AS b, nullif(1, 1) AS c, nullif(1, 2) AS d, greatest(1, 3, 2) AS e, least('b', 'a') AS f;
--| a:int4|b:varchar|c:int4|d:int4|e:int4|f:varchar
--| 2|x|NULL|1|3|a
SELECT decode(customer, 'ada', 1, null, 0, 9) AS d FROM orders ORDER BY id;
--| d:int4
--| 1
--| 9
--| 1
--| 0
SELECT CASE customer WHEN 'ada' THEN 1 ELSE 2 END AS c, CASE WHEN amount > 8 THEN 'big' END AS size FROM orders ORDER BY id;
--| c:int4|size:varchar
--| 1|big
--| 2|big
--| 1|NULL
--| 2|NULL
SELECT CASE WHEN true THEN 1 ELSE 2.5 END AS n;
--| n:numeric
--| 1.0
SELECT abs(-2), round(2.567, 2), round(2.5), ceil(1.2), floor(-1.2), trunc(1.99), mod(7, 3), power(2, 10), sqrt(16.0), sign(-5);
--| abs:int4|round:numeric|round:numeric|ceil:numeric|floor:numeric|trunc:numeric|mod:int4|power:float8|sqrt:float8|sign:int4
--| 2|2.570|3.0|2|-2|1.00|1|1024|4|-1

-- Names that are not there.
SELECT nothing FROM orders;
--| ERROR: column "nothing" does not exist in orders
SELECT o.nothing FROM orders o;
--| ERROR: column o.nothing does not exist
SELECT x.id FROM orders o;
--| ERROR: missing FROM-clause entry for table "x"
--|   Detail: x.id
SELECT * FROM nowhere;
--| ERROR: relation "nowhere" does not exist
SELECT * FROM nowhere.orders;
--| ERROR: relation "nowhere.orders" does not exist
SELECT * FROM other.public.orders;
--| ERROR: cross-database reference to database "other" is not supported
SELECT name FROM customers a JOIN customers b ON a.name = b.name;
--| ERROR: column reference "name" is ambiguous
SELECT frobnicate(1, 'x');
--| ERROR: function frobnicate(integer, "unknown") does not exist
--|   Hint: No function matches the given name and argument types. You may need to add explicit type casts.
SELECT id FROM;
--| ERROR: syntax error at or near ";"
--|   Position: 15
SELECT id orders WHERE;
--| ERROR: syntax error at or near ";"
--|   Position: 23
SELECT id FROM orders QUALIFY row_number() OVER (ORDER BY id) = 1;
--| ERROR: feature not supported: INTO, QUALIFY and LATERAL VIEW
