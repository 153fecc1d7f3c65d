-- The walkthrough's last step, as written.
SELECT payload.name.first, payload.name.last, payload.name.title,
    payload.dob.date as dob, payload.cell, payload.location.city, payload.email
    FROM my_stream_vw;
--| first:super|last:super|title:super|dob:super|cell:super|city:super|email:super
--| "Ada"|"Brandt"|"Ms"|"1990-02-03T00:00:00.000Z"|"081-1"|"Bergen"|"ada@example.com"
--| "Björn"|"Ito"|"Ms"|"1990-02-03T00:00:00.000Z"|"081-1"|"Graz"|"björn@example.com"
--| NULL|NULL|NULL|NULL|NULL|NULL|NULL

-- Navigation: what is not there, or is null, is null.
SELECT payload.name FROM my_stream_vw ORDER BY sequencenumber LIMIT 1;
--| name:super
--| {"first":"Ada","last":"Brandt","title":"Ms"}
SELECT payload.name.first.deeper FROM my_stream_vw;
--| deeper:super
--| NULL
--| NULL
--| NULL
SELECT payload.nothing, payload.none FROM my_stream_vw LIMIT 1;
--| nothing:super|none:super
--| NULL|NULL
SELECT payload.tags[0], payload.tags[7] FROM my_stream_vw ORDER BY 1;
--| tags:super|tags:super
--| "a"|NULL
--| "a"|NULL
--| NULL|NULL
SELECT payload['email'] FROM my_stream_vw ORDER BY 1 LIMIT 1;
--| payload:super
--| "ada@example.com"
SELECT v.payload.name.first FROM my_stream_vw v WHERE v.payload.dob.age > 40;
--| first:super
--| "Björn"
SELECT my_stream_vw.payload.email FROM my_stream_vw WHERE payload.name.first = 'Ada';
--| email:super
--| "ada@example.com"
SELECT PAYLOAD.Name.First FROM My_Stream_VW WHERE payload.active = true ORDER BY 1;
--| first:super
--| "Ada"
--| "Björn"
SELECT payload.dob.age::int AS age, payload.score::decimal(8,2) AS score FROM my_stream_vw WHERE payload.dob.age IS NOT NULL ORDER BY age DESC;
--| age:int4|score:numeric
--| 41|1.50
--| 36|1.50
SELECT payload.name.first::varchar AS first FROM my_stream_vw ORDER BY 1;
--| first:varchar
--| Ada
--| Björn
--| NULL
SELECT CAST(payload.location.city AS VARCHAR(3)) AS c FROM my_stream_vw WHERE payload.location IS NOT NULL ORDER BY c;
--| c:varchar
--| Ber
--| Gra
SELECT count(*) FROM my_stream_vw WHERE payload.name.first IS NULL;
--| count:int8
--| 1
SELECT t.sequencenumber, i FROM my_stream_vw AS t, t.payload.tags AS i WHERE t.sequencenumber = '491';
--| sequencenumber:varchar|i:super
--| 491|"a"
--| 491|"b"
SELECT count(i) FROM my_stream_vw t, t.payload.tags i;
--| count:int8
--| 4
SELECT json_typeof(payload.name), count(*) FROM my_stream_vw GROUP BY 1 ORDER BY 1;
--| json_typeof:varchar|count:int8
--| object|2
--| string|1
SELECT get_array_length(payload.tags) AS n FROM my_stream_vw ORDER BY 1;
--| n:int8
--| 2
--| 2
--| NULL
SELECT json_serialize(payload.tags) FROM my_stream_vw LIMIT 1;
--| json_serialize:varchar
--| ["a","b"]
SELECT is_array(payload.tags), is_object(payload.name), is_varchar(payload.email) FROM my_stream_vw LIMIT 1;
--| is_array:bool|is_object:bool|is_varchar:bool
--| true|true|true
SELECT payload.name.first || ' ' || payload.name.last AS full_name FROM my_stream_vw WHERE payload.email IS NOT NULL ORDER BY 1;
--| full_name:varchar
--| Ada Brandt
--| Björn Ito
SELECT lower(payload.name.first) FROM my_stream_vw WHERE payload.email LIKE '%@example.com' ORDER BY 1;
--| lower:varchar
--| ada
--| björn
SELECT sum(payload.dob.age) AS total FROM my_stream_vw;
--| total:float8
--| 77
SELECT payload.dob.age + 1 AS next FROM my_stream_vw ORDER BY 1;
--| next:float8
--| 37
--| 42
--| NULL
SELECT payload.name.first::int FROM my_stream_vw;
--| ERROR: Invalid digit, Value 'A', Pos 0, Type: Integer
SELECT partitionkey.a FROM my_stream_vw;
--| ERROR: navigation on column "partitionkey" is not allowed as it is not SUPER type

-- JSON.
SELECT json_parse('{"a": [1, {"b": "c"}]}') AS j;
--| j:super
--| {"a":[1,{"b":"c"}]}
SELECT json_parse('[10, 20]')[1]::int AS second;
--| second:int4
--| 20
SELECT json_parse('null') IS NULL AS nothing;
--| nothing:bool
--| true
SELECT json_parse('{"a":');
--| ERROR: JSON parsing error
--|   Detail: EOF while parsing a value at line 1 column 5, value: {"a":
SELECT can_json_parse('{"a": 1}') AS yes, can_json_parse('{a}') AS no, can_json_parse(null) AS nothing;
--| yes:bool|no:bool|nothing:bool
--| true|false|NULL
SELECT is_valid_json('[1]') AS ok;
--| ok:bool
--| true
SELECT json_extract_path_text('{"a": {"b": "c"}}', 'a', 'b') AS c;
--| c:varchar
--| c
SELECT json_extract_path_text('{"a": {"b": 5}}', 'a') AS object, json_extract_path_text('{"a": 1}', 'z') AS nothing;
--| object:varchar|nothing:varchar
--| {"b":5}|
SELECT json_extract_path_text('no json', 'a', true) AS lenient;
--| lenient:varchar
--| NULL
SELECT json_extract_path_text('no json', 'a');
--| ERROR: JSON parsing error
--|   Detail: invalid json object no json
SELECT json_extract_path_text('{"id": "42"}', 'id', true)::int AS id;
--| id:int4
--| 42
SELECT from_varbyte(to_varbyte('hé', 'utf8'), 'utf-8') AS there_and_back;
--| there_and_back:varchar
--| hé
SELECT from_varbyte(to_varbyte('68c3a9', 'hex'), 'utf8') AS text, to_hex('hé'::varbyte) AS hex;
--| text:varchar|hex:varchar
--| hé|68c3a9
