-- warehouse dwh, database dev

CREATE EXTERNAL SCHEMA clicks
FROM KINESIS
REGION 'eu-west-1'
IAM_ROLE 'arn:aws:iam::111111111111:role/service/KinesisReader';

SET enable_case_sensitive_identifier TO true;
CREATE EXTERNAL SCHEMA "Kds"
FROM KINESIS
REGION 'eu-west-1'
IAM_ROLE 'arn:aws:iam::111111111111:role/service/KinesisReader';

SET enable_case_sensitive_identifier TO true;
CREATE MATERIALIZED VIEW stream.clicks
DISTSTYLE EVEN
SORTKEY (shard_id, "order")
AUTO REFRESH NO AS
SELECT approximate_arrival_timestamp,
    partition_key,
    shard_id,
    sequence_number,
    refresh_time,
    JSON_PARSE(kinesis_data) AS payload
FROM clicks."Clicks"
WHERE CAN_JSON_PARSE(kinesis_data);
-- run it as "IAMR:TidekeeperTask", as the daemon does: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW stream.clicks;

SET enable_case_sensitive_identifier TO true;
CREATE MATERIALIZED VIEW stream.orders
DISTSTYLE KEY
DISTKEY (partition_key)
AUTO REFRESH YES AS
SELECT approximate_arrival_timestamp,
    partition_key,
    shard_id,
    sequence_number,
    refresh_time,
    JSON_PARSE(kinesis_data) AS payload
FROM "Kds".orders
WHERE CAN_JSON_PARSE(kinesis_data);
-- run it as the daemon's user: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW stream.orders;

SET enable_case_sensitive_identifier TO true;
CREATE MATERIALIZED VIEW stream."user"
AUTO REFRESH NO AS
SELECT *
FROM clicks."Clicks"
WHERE true;
-- run it as mv_owner, as the daemon does: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW stream."user";

GRANT USAGE ON SCHEMA clicks TO "IAMR:TidekeeperTask";
-- Redshift creates "IAMR:TidekeeperTask" when the role first connects

GRANT USAGE ON SCHEMA clicks TO mv_owner;

ALTER USER "IAMR:TidekeeperTask" SET query_group TO 'it''s';

ALTER USER mv_owner SET query_group TO 'it''s';

-- migrate
-- warehouse dwh, database dev

ALTER MATERIALIZED VIEW stream.clicks AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW stream.clicks AUTO REFRESH YES;

ALTER MATERIALIZED VIEW stream.daily AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW stream.daily AUTO REFRESH YES;

ALTER MATERIALIZED VIEW stream.orders AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW stream.orders AUTO REFRESH YES;

ALTER MATERIALIZED VIEW stream."user" AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW stream."user" AUTO REFRESH YES;

-- notes on roles
-- note: a stream encrypted with a key of your own: add kms:Decrypt on that key to the roles that read it, and let the key's policy allow them
