//! The integration tests: one binary, because linking the AWS SDK once is slow enough.

mod tidy;
