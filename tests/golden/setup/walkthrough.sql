-- warehouse rt, database dev

CREATE EXTERNAL SCHEMA schema_stream
FROM KINESIS
IAM_ROLE 'arn:aws:iam::222222222222:role/RedshiftStreamRole,arn:aws:iam::111111111111:role/KinesisStreamRole';

CREATE MATERIALIZED VIEW my_stream_vw
AUTO REFRESH NO AS
SELECT approximatearrivaltimestamp,
partitionkey,
shardid,
sequencenumber,
json_parse(data) as payload
FROM schema_stream."my-data-stream";
-- run it as the daemon's user: only a view's owner may refresh it
-- the first refresh reads the stream from its oldest record, which can take long: REFRESH MATERIALIZED VIEW my_stream_vw;

-- migrate
-- warehouse rt, database dev

ALTER MATERIALIZED VIEW my_stream_vw AUTO REFRESH NO;
-- back: ALTER MATERIALIZED VIEW my_stream_vw AUTO REFRESH YES;

-- notes on roles
-- note: a stream encrypted with a key of your own: add kms:Decrypt on that key to the roles that read it, and let the key's policy allow them
-- note: the daemon's own role is not known and left out: set `role_arn` in [daemon]
