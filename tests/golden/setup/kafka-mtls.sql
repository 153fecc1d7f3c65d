-- warehouse rt, database dev

CREATE EXTERNAL SCHEMA acm
FROM KAFKA
IAM_ROLE 'arn:aws:iam::222222222222:role/RedshiftStreamRole'
AUTHENTICATION mtls
URI 'kafka.example.com:9094'
AUTHENTICATION_ARN 'arn:aws:acm:eu-west-1:222222222222:certificate/0b5d8a0e';

CREATE EXTERNAL SCHEMA secret
FROM KAFKA
IAM_ROLE default
AUTHENTICATION mtls
URI 'kafka.example.com:9094'
SECRET_ARN 'arn:aws:secretsmanager:eu-west-1:222222222222:secret:kafka-AbCdEf';
-- no role_chain: the warehouse's default role reads the stream

CREATE EXTERNAL SCHEMA "open"
FROM KAFKA
AUTHENTICATION none
URI 'kafka.example.com:9092';

CREATE MATERIALIZED VIEW public.a
AUTO REFRESH NO AS
SELECT kafka_partition,
    kafka_offset,
    kafka_timestamp,
    kafka_key,
    refresh_time,
    JSON_PARSE(kafka_value) AS payload
FROM acm.orders
WHERE CAN_JSON_PARSE(kafka_value);
-- run it as the daemon's user: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW public.a;

CREATE MATERIALIZED VIEW public.b
AUTO REFRESH NO AS
SELECT kafka_partition,
    kafka_offset,
    kafka_timestamp,
    kafka_key,
    refresh_time,
    JSON_PARSE(kafka_value) AS payload
FROM secret.orders
WHERE CAN_JSON_PARSE(kafka_value);
-- run it as the daemon's user: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW public.b;

CREATE MATERIALIZED VIEW public.c
AUTO REFRESH NO AS
SELECT kafka_partition,
    kafka_offset,
    kafka_timestamp,
    kafka_key,
    refresh_time,
    JSON_PARSE(kafka_value) AS payload
FROM "open".orders
WHERE CAN_JSON_PARSE(kafka_value);
-- run it as the daemon's user: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW public.c;

-- migrate
-- warehouse rt, database dev

ALTER MATERIALIZED VIEW public.a AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW public.a AUTO REFRESH YES;

ALTER MATERIALIZED VIEW public.b AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW public.b AUTO REFRESH YES;

ALTER MATERIALIZED VIEW public.c AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW public.c AUTO REFRESH YES;

-- notes on roles
-- note: the daemon's own role is not known and left out: set `role_arn` in [daemon]
