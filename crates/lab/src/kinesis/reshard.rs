//! Decides what is told of shards, and when they may be split and merged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fields::{Fields, HASH_KEY, NAME, TOKEN};
use super::limits::TOLERATED;
use super::refusal::Refusal;
use super::{Answer, Request, done};
use crate::clock::Moment;
use crate::streams::{Log, SequenceNumber, Shard, shard_id, shard_index};

/// "The default value is 1000."
const PAGE: usize = 1_000;

const FILTERS: [&str; 6] = [
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TRIM_HORIZON",
    "FROM_TIMESTAMP",
    "AT_TIMESTAMP",
    "AFTER_SHARD_ID",
];

/// Which shards a listing shows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Filter {
    /// Those that were open at this moment.
    OpenAt(Moment),
    /// Those that were open at this moment, or have been since.
    OpenSince(Moment),
}

impl Filter {
    fn shows(self, shard: &Shard) -> bool {
        let open_after = |moment| shard.closed().is_none_or(|closed| closed > moment);
        match self {
            Self::OpenAt(moment) => shard.opened() <= moment && open_after(moment),
            Self::OpenSince(moment) => open_after(moment),
        }
    }
}

/// Where a listing of shards goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    stream: String,
    number: u32,
    after: usize,
    filter: Filter,
    page: usize,
    issued: Moment,
}

impl Request<'_> {
    /// The shards that a listing without filter shows: those that hold or may get records.
    pub(super) fn kept_shards<'a>(&self, log: &'a Log) -> impl Iterator<Item = usize> + use<'a> {
        let filter = self.since_trim_horizon(log);
        let shards = log.shards().iter().enumerate();
        shards.filter_map(move |(index, shard)| filter.shows(shard).then_some(index))
    }

    fn trim_horizon(&self, log: &Log) -> Moment {
        self.now.saturating_sub(log.retention())
    }

    pub(super) fn shard(&self, log: &Log, index: usize) -> Option<Value> {
        let shard = log.shards().get(index)?;
        let number = |place| {
            let stream = log.number();
            SequenceNumber {
                stream,
                shard: index,
                place,
            }
            .to_string()
        };
        let range = shard.range();
        let mut sequences = json!({ "StartingSequenceNumber": number(0) });
        if let (Some(_), Some(members)) = (shard.closed(), sequences.as_object_mut()) {
            // One above the last record's, so that no record ever has it.
            let ending = number(shard.next() + 1);
            members.insert("EndingSequenceNumber".to_owned(), ending.into());
        }
        let mut told = json!({
            "ShardId": shard_id(index),
            "HashKeyRange": {
                "StartingHashKey": range.start.to_string(),
                "EndingHashKey": range.end.to_string(),
            },
            "SequenceNumberRange": sequences,
        });
        let members = told.as_object_mut()?;
        let words = ["ParentShardId", "AdjacentParentShardId"];
        for (word, parent) in words.into_iter().zip(shard.parents()) {
            members.insert(word.to_owned(), shard_id(*parent).into());
        }
        Some(told)
    }

    pub(super) fn list_shards(&self) -> Answer {
        let token = self.listing()?;
        let log = self.log(&token.stream)?;
        if log.number() != token.number {
            return Err(Refusal::argument("NextToken is invalid."));
        }
        let shards = log.shards().iter().enumerate().skip(token.after);
        let mut shown = shards.filter(|(_, shard)| token.filter.shows(shard));
        let page: Vec<(usize, &Shard)> = shown.by_ref().take(token.page).collect();
        let told: Vec<Value> = page
            .iter()
            .filter_map(|(index, _)| self.shard(log, *index))
            .collect();
        let mut answer = json!({ "Shards": told });
        if let (Some((next, _)), Some(members)) = (shown.next(), answer.as_object_mut()) {
            let token = Token {
                after: next,
                issued: self.now,
                ..token
            };
            let text = serde_json::to_vec(&token).unwrap_or_default();
            members.insert("NextToken".to_owned(), URL_SAFE_NO_PAD.encode(text).into());
        }
        Ok(answer)
    }

    /// What is to be listed, from the request or from the token of the page before.
    fn listing(&self) -> Result<Token, Refusal> {
        let page = self.fields.count("MaxResults", 10_000)?;
        if let Some(text) = self.fields.text("NextToken", TOKEN)? {
            if self.named()?.is_some() {
                let message = "NextToken and StreamName cannot be provided together.";
                return Err(Refusal::argument(message));
            }
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let token: Option<Token> = bytes.and_then(|b| serde_json::from_slice(&b).ok());
            let token = token.ok_or_else(|| Refusal::argument("NextToken is invalid."))?;
            if token.issued + TOLERATED < self.now {
                return Err(Refusal::expired_token());
            }
            let page = page.unwrap_or(token.page);
            return Ok(Token { page, ..token });
        }
        let Some(stream) = self.named()? else {
            let message = "Either NextToken or StreamName should be provided.";
            return Err(Refusal::argument(message));
        };
        let log = self.log(&stream)?;
        let (mut after, filter) = match self.fields.inner("ShardFilter")? {
            Some(given) => self.filter(log, &given)?,
            None => (0, self.since_trim_horizon(log)),
        };
        if let Some(start) = self.shard_after(NAME)? {
            after = after.max(start.saturating_add(1));
        }
        let number = log.number();
        Ok(Token {
            number,
            after,
            filter,
            page: page.unwrap_or(PAGE),
            issued: self.now,
            stream,
        })
    }

    fn since_trim_horizon(&self, log: &Log) -> Filter {
        Filter::OpenSince(self.trim_horizon(log))
    }

    /// The first shard and the filter of a `ShardFilter`.
    fn filter(&self, log: &Log, given: &Fields) -> Result<(usize, Filter), Refusal> {
        let kind = given.choice("Type", &FILTERS)?;
        let kind = kind.ok_or_else(|| given.missing("Type"))?;
        let shard = given.text("ShardId", NAME)?;
        let time = given.time("Timestamp")?;
        let moment = || {
            let time = time.ok_or_else(|| given.missing("Timestamp"))?;
            let moment = time.saturating_sub(self.scope.epoch);
            Ok(moment.max(self.trim_horizon(log)))
        };
        Ok(match kind {
            "AT_LATEST" => (0, Filter::OpenAt(self.now)),
            "AT_TRIM_HORIZON" => {
                let horizon = self.trim_horizon(log).max(log.created());
                (0, Filter::OpenAt(horizon))
            }
            "AT_TIMESTAMP" => (0, Filter::OpenAt(moment()?)),
            "FROM_TIMESTAMP" => (0, Filter::OpenSince(moment()?)),
            "AFTER_SHARD_ID" => {
                let id = shard.ok_or_else(|| given.missing("ShardId"))?;
                let index = shard_index(id);
                let index =
                    index.ok_or_else(|| Refusal::argument(format!("ShardId {id} is invalid.")))?;
                (index.saturating_add(1), self.since_trim_horizon(log))
            }
            _ => (0, self.since_trim_horizon(log)),
        })
    }

    pub(super) fn split_shard(&mut self) -> Answer {
        let id = self.fields.needed("ShardToSplit", NAME)?;
        let text = self.fields.needed("NewStartingHashKey", HASH_KEY)?;
        let (name, log) = self.existing()?;
        self.allow_resharding(&name, log)?;
        let index = self.find_open(&name, log, id)?;
        let Some(range) = log.shards().get(index).map(Shard::range) else {
            return Err(self.no_shard(&name, id));
        };
        // Kinesis wants more than one key on either side.
        let fits = |key: &u128| *key > range.start.saturating_add(1) && *key < range.end;
        let Some(key) = text.parse().ok().filter(fits) else {
            let account = &self.scope.account;
            return Err(Refusal::argument(format!(
                "NewStartingHashKey {text} used in SplitShard() on shard {id} in stream {name} \
                 under account {account} is not both greater than one plus the shard's \
                 StartingHashKey {} and less than the shard's EndingHashKey {}.",
                range.start, range.end
            )));
        };
        self.leave_room_for(1)?;
        self.streams.split(&name, index, key, self.now);
        done()
    }

    pub(super) fn merge_shards(&mut self) -> Answer {
        let id = self.fields.needed("ShardToMerge", NAME)?;
        let other = self.fields.needed("AdjacentShardToMerge", NAME)?;
        let (name, log) = self.existing()?;
        self.allow_resharding(&name, log)?;
        let index = self.find_open(&name, log, id)?;
        let adjacent = self.find_open(&name, log, other)?;
        let refusal = format!(
            "Shards {id} and {other} in stream {name} under account {} are not an adjacent \
             pair of shards eligible for merging",
            self.scope.account
        );
        let merged = self.streams.merge(&name, index, adjacent, self.now);
        merged.ok_or_else(|| Refusal::argument(refusal))?;
        done()
    }

    fn allow_resharding(&self, name: &str, log: &Log) -> Result<(), Refusal> {
        if !log.is_on_demand() {
            return Ok(());
        }
        let account = &self.scope.account;
        Err(Refusal::invalid(format!(
            "Request is invalid. Stream {name} under account {account} is in On-Demand mode."
        )))
    }

    fn no_shard(&self, stream: &str, id: &str) -> Refusal {
        let shard = self.shard_words(id, stream);
        Refusal::not_found(format!("Could not find {shard}."))
    }

    fn find_open(&self, stream: &str, log: &Log, id: &str) -> Result<usize, Refusal> {
        let index = shard_index(id);
        let found = index.and_then(|index| Some((index, log.shards().get(index)?)));
        let (index, shard) = found.ok_or_else(|| self.no_shard(stream, id))?;
        if shard.closed().is_some() {
            let account = &self.scope.account;
            return Err(Refusal::argument(format!(
                "Shard {id} in stream {stream} under account {account} has already been merged \
                 or split, and thus is not eligible for merging or splitting."
            )));
        }
        Ok(index)
    }
}
