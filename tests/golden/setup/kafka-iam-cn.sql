-- warehouse rt, database dev

CREATE EXTERNAL SCHEMA payments
FROM KAFKA
IAM_ROLE 'arn:aws-cn:iam::222222222222:role/RedshiftStreamRole'
AUTHENTICATION iam
URI 'b-1.shop.abc123.c2.kafka.cn-north-1.amazonaws.com.cn:9098,b-2.shop.abc123.c2.kafka.cn-north-1.amazonaws.com.cn:9098';

SET enable_case_sensitive_identifier TO true;
CREATE MATERIALIZED VIEW payments
AUTO REFRESH NO AS
SELECT kafka_partition,
    kafka_offset,
    kafka_timestamp,
    kafka_key,
    refresh_time,
    JSON_PARSE(kafka_value) AS payload
FROM payments."Payments"
WHERE CAN_JSON_PARSE(kafka_value);
-- run it as "IAMR:TidekeeperTask", as the daemon does: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW payments;

GRANT USAGE ON SCHEMA payments TO "IAMR:TidekeeperTask";
-- Redshift creates "IAMR:TidekeeperTask" when the role first connects

-- migrate
-- warehouse rt, database dev

ALTER MATERIALIZED VIEW payments AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW payments AUTO REFRESH YES;

-- notes on roles
-- note: the name of an MSK cluster is not in the configuration: `cluster/*` and `topic/*` stand for it, narrow them
-- note: the ARN of a workgroup ends in an id that its name does not tell: `workgroup/*` stands for it, narrow it
-- note: a warehouse has no `region`: `*` stands for it
