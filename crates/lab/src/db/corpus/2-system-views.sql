-- What the facts' sheet, dashboards and dbt ask.
SELECT TRIM(status), TRIM(refresh_type), transaction_id, start_time, end_time, duration
FROM sys_mv_refresh_history
WHERE session_id = 1073741824 AND TRIM(schema_name)='public' AND TRIM(mv_name)='my_stream_vw'
  AND start_time >= '2026-11-23 12:00:00'::timestamp - INTERVAL '1 minute' ORDER BY start_time DESC LIMIT 1;
--| btrim:varchar|btrim:varchar|transaction_id:int8|start_time:timestamp|end_time:timestamp|duration:int8
--| Refresh successfully updated MV incrementally|Manual|100001|2026-11-23 12:00:05|2026-11-23 12:00:06|1000000
SELECT SUM(scanned_rows), SUM(skipped_rows), SUM(scanned_bytes), COUNT(DISTINCT partition_id)
FROM sys_stream_scan_states WHERE transaction_id = 100001 AND TRIM(mv_name)='my_stream_vw';
--| sum:numeric|sum:numeric|sum:numeric|count:int8
--| 3|0|600|1
SELECT TRIM(partition_id) p, MAX(stream_record_time_max) newest,
       DATEDIFF(second, MAX(stream_record_time_max), GETDATE()) AS age_s
FROM sys_stream_scan_states WHERE TRIM(mv_name)='my_stream_vw' AND record_time > GETDATE()-INTERVAL '3 hours' GROUP BY 1;
--| p:varchar|newest:timestamp|age_s:int8
--| shardId-000000000000|2026-11-23 12:00:03|7369
SELECT partition_id, lag_from_latest, max_latency_s, latest_position FROM
 (SELECT *, ROW_NUMBER() OVER (PARTITION BY partition_id ORDER BY record_time DESC) rn
  FROM sys_stream_scan_states WHERE TRIM(mv_name)='my_stream_vw') t WHERE rn=1;
--| partition_id:bpchar|lag_from_latest:int8|max_latency_s:int8|latest_position:bpchar
--| shardId-000000000000                                                                                                            |0|5|493                                                                                                                             
SELECT TRIM(partition_id), error_code, TRIM(error_reason), COUNT(*), MAX(record_time), MIN(TRIM(position))
FROM sys_stream_scan_errors WHERE TRIM(mv_name)='my_stream_vw' AND record_time > '2026-11-01' GROUP BY 1,2,3;
--| btrim:varchar|error_code:int4|btrim:varchar|count:int8|max:timestamp|min:varchar
SELECT h.mv_name, h.status, s.scanned_rows
FROM sys_mv_refresh_history h LEFT JOIN sys_stream_scan_states s USING (transaction_id)
WHERE h.start_time > dateadd(hour, -6, getdate());
--| mv_name:bpchar|status:varchar|scanned_rows:int8
--| my_stream_vw                                                                                                                    |Refresh successfully updated MV incrementally|3
SELECT mv_name, count(*) AS refreshes, avg(duration) / 1000000.0 AS seconds
FROM sys_mv_refresh_history WHERE start_time > getdate() - interval '1 day' GROUP BY mv_name;
--| mv_name:bpchar|refreshes:int8|seconds:numeric
--| my_stream_vw                                                                                                                    |1|1.00000000
SELECT shard_id FROM sys_stream_scan_states;
--| ERROR: column "shard_id" does not exist in sys_stream_scan_states
SELECT schema_name, name, is_stale, state, autorefresh FROM svv_mv_info WHERE name = 'my_stream_vw';
--| schema_name:bpchar|name:bpchar|is_stale:bpchar|state:int4|autorefresh:bpchar
--| public                                                                                                                          |my_stream_vw                                                                                                                    |f|1|f
SELECT * FROM svv_mv_info WHERE database_name = current_database() AND user_name = current_user;
--| database_name:bpchar|schema_name:bpchar|user_name:bpchar|name:bpchar|is_stale:bpchar|state:int4|autorewrite:bpchar|autorefresh:bpchar
--| dev                                                                                                                             |public                                                                                                                          |IAMR:tidekeeper                                                                                                                 |my_stream_vw                                                                                                                    |f|1|f|f
SELECT tb.database_name AS "database", tb.schema_name AS "schema", tb.name AS "name", tb.autorefresh = 't' AS auto
FROM svv_mv_info tb WHERE tb.name ILIKE 'MY_STREAM%' AND tb.schema_name ilike 'public' AND tb.database_name ilike 'dev';
--| database:bpchar|schema:bpchar|name:bpchar|auto:bool
--| dev                                                                                                                             |public                                                                                                                          |my_stream_vw                                                                                                                    |false
SELECT count(*) FROM pg_catalog.svv_mv_info;
--| count:int8
--| 1
SELECT count(*) FROM stv_mv_info;
--| count:int8
--| 0
SELECT schemaname, esoptions FROM svv_external_schemas WHERE eskind = 9;
--| schemaname:varchar|esoptions:varchar
SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema');
--| table_schema:varchar|table_name:varchar
SELECT column_name, data_type FROM svv_columns WHERE table_name = 'none' ORDER BY ordinal_position;
--| column_name:varchar|data_type:varchar
SELECT query_id, lock_wait_time FROM sys_query_history WHERE status = 'failed';
--| query_id:int8|lock_wait_time:int8
SELECT sum(charged_seconds) AS rpu_seconds FROM sys_serverless_usage;
--| rpu_seconds:int8
--| NULL
SELECT date_trunc('minute', start_time) AS minute, count(*) AS n FROM sys_mv_refresh_history GROUP BY 1 ORDER BY 1;
--| minute:timestamp|n:int8
--| 2026-11-23 12:00:00|1
SELECT CASE WHEN status LIKE '%incrementally%' THEN 'incremental' ELSE 'other' END AS kind, count(*) FROM sys_mv_refresh_history GROUP BY 1;
--| kind:varchar|count:int8
--| incremental|1
SELECT mv_name FROM sys_mv_refresh_history
UNION ALL SELECT name FROM svv_mv_info UNION ALL SELECT mv_name FROM sys_stream_scan_states;
--| mv_name:bpchar
--| my_stream_vw                                                                                                                    
--| my_stream_vw                                                                                                                    
--| my_stream_vw                                                                                                                    
SELECT has_schema_privilege('public', 'usage') AS may;
--| may:bool
--| true
SELECT current_user, current_database(), current_schema(), pg_backend_pid();
--| current_user:varchar|current_database:varchar|current_schema:varchar|pg_backend_pid:int4
--| IAMR:tidekeeper|dev|public|1073741824
SELECT usename FROM pg_user;
--| usename:varchar
SELECT 1;
--| ?column?:int4
--| 1
select version();
--| version:varchar
--| PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0 (Tidekeeper lab)
