-- warehouse rt, database dev

CREATE EXTERNAL SCHEMA users
FROM KINESIS
REGION 'us-gov-east-1'
IAM_ROLE 'arn:aws-us-gov:iam::222222222222:role/RedshiftStreamRole,arn:aws-us-gov:iam::444444444444:role/Broker,arn:aws-us-gov:iam::111111111111:role/KinesisStreamRole';

CREATE MATERIALIZED VIEW public.users
AUTO REFRESH NO AS
SELECT approximate_arrival_timestamp,
    partition_key,
    shard_id,
    sequence_number,
    refresh_time,
    JSON_PARSE(kinesis_data) AS payload
FROM users.users
WHERE CAN_JSON_PARSE(kinesis_data);
-- run it as "IAMR:Tidekeeper", as the daemon does: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW public.users;

GRANT USAGE ON SCHEMA users TO "IAMR:Tidekeeper";
-- Redshift creates "IAMR:Tidekeeper" when the role first connects

-- migrate
-- warehouse rt, database dev

ALTER MATERIALIZED VIEW public.users AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW public.users AUTO REFRESH YES;

-- notes on roles
-- note: a stream encrypted with a key of your own: add kms:Decrypt on that key to the roles that read it, and let the key's policy allow them
-- note: the ARN of a workgroup ends in an id that its name does not tell: `workgroup/*` stands for it, narrow it
