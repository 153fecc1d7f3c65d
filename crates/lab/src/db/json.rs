//! Decides how JSON becomes SUPER and SUPER becomes anything else. SUPER is JSON text as
//! `serde_json` writes it; SQL's null stands for JSON's.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};
use serde_json::Value as Json;

use super::functions::{Answer, Arguments, add, count, fail, say};

pub(super) fn install(connection: &Connection) -> Result<()> {
    add(connection, "rs_json_parse", 1, |a| {
        let text = a.text(0)?;
        match serde_json::from_str::<Json>(&text) {
            Ok(Json::Null) => Ok(None),
            Ok(json) => say(json.to_string()),
            // The words after "Detail" are an assumption.
            Err(error) => fail(format!(
                "ERROR: JSON parsing error\n  Detail: {error}, value: {}",
                text.chars().take(80).collect::<String>()
            )),
        }
    })?;
    add(connection, "rs_can_json_parse", 1, |a| {
        count(i64::from(can_parse(a)))
    })?;
    add(connection, "rs_super_get", 2, |a| {
        let path = a.text(1)?;
        let json: Json = serde_json::from_str(&a.text(0)?).unwrap_or_default();
        let found = json.pointer(&path);
        match found {
            None | Some(Json::Null) => Ok(None),
            Some(found) => say(found.to_string()),
        }
    })?;
    // A scalar's text, without the quotes.
    add(
        connection,
        "rs_super_text",
        1,
        |a| match serde_json::from_str(&a.text(0)?) {
            Ok(Json::Null) | Err(_) => Ok(None),
            Ok(Json::String(text)) => say(text),
            Ok(other) => say(other.to_string()),
        },
    )?;
    add(connection, "rs_to_super", 2, to_super)?;
    looks(connection)?;
    bytes(connection)?;
    for arguments in 2..8 {
        add(connection, "rs_extract_path", arguments, extract_path)?;
    }
    Ok(())
}

fn looks(connection: &Connection) -> Result<()> {
    add(connection, "rs_json_typeof", 1, |a| {
        let kind = match serde_json::from_str(&a.text(0)?) {
            Ok(Json::Null) | Err(_) => "null",
            Ok(Json::Bool(_)) => "boolean",
            Ok(Json::Number(_)) => "number",
            Ok(Json::String(_)) => "string",
            Ok(Json::Array(_)) => "array",
            Ok(Json::Object(_)) => "object",
        };
        say(kind)
    })?;
    add(
        connection,
        "rs_array_length",
        1,
        |a| match serde_json::from_str(&a.text(0)?) {
            Ok(Json::Array(items)) => count(i64::try_from(items.len()).unwrap_or(i64::MAX)),
            Ok(_) | Err(_) => Ok(None),
        },
    )
}

fn bytes(connection: &Connection) -> Result<()> {
    add(connection, "rs_from_varbyte", 2, |a| {
        let format = a.text(1)?.to_lowercase();
        match (format.as_str(), a.0.get_raw(0)) {
            ("hex", ValueRef::Blob(bytes)) => say(super::value::hex(bytes)),
            ("utf8" | "utf-8", _) => say(a.text(0)?),
            (_, _) => fail(format!("ERROR: encoding \"{format}\" is not supported")),
        }
    })?;
    add(connection, "rs_to_varbyte", 2, |a| {
        let text = a.text(0)?;
        if a.text(1)?.eq_ignore_ascii_case("hex") {
            let bytes: Option<Vec<u8>> = text
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    let pair = std::str::from_utf8(pair).ok()?;
                    u8::from_str_radix(pair, 16).ok()
                })
                .collect();
            return bytes.map_or_else(
                || fail("ERROR: invalid hexadecimal digit"),
                |bytes| Ok(Some(Value::Blob(bytes))),
            );
        }
        Ok(Some(Value::Blob(text.into_bytes())))
    })
}

fn can_parse(a: &Arguments<'_>) -> bool {
    a.text(0)
        .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok())
}

/// `rs_to_super(value, kind)`: `j` for what is SUPER, `b` for a boolean.
fn to_super(a: &Arguments<'_>) -> Answer {
    let kind = a.text(1)?;
    let json = match (a.0.get_raw(0), kind.as_str()) {
        (ValueRef::Integer(value), "b") => Json::Bool(value != 0),
        (ValueRef::Integer(value), _) => value.into(),
        (ValueRef::Real(value), _) => value.into(),
        (_, "j") => return say(a.text(0)?),
        (_, _) => a.text(0)?.into(),
    };
    say(json.to_string())
}

/// `rs_extract_path(null_if_invalid, text, key…)`: what `JSON_EXTRACT_PATH_TEXT` gives; an
/// empty text where there is nothing.
fn extract_path(a: &Arguments<'_>) -> Answer {
    let text = a.text(1)?;
    let Ok(json) = serde_json::from_str::<Json>(&text) else {
        if a.integer(0)? != 0 {
            return Ok(None);
        }
        return fail(format!(
            "ERROR: JSON parsing error\n  Detail: invalid json object {}",
            text.chars().take(80).collect::<String>()
        ));
    };
    let mut found = Some(&json);
    let mut index = 2;
    while a.has(index) {
        let key = a.text(index)?;
        found = found.and_then(|json| json.get(key));
        index += 1;
    }
    match found {
        None | Some(Json::Null) => Ok(Some(Value::Text(String::new()))),
        Some(Json::String(text)) => say(text.clone()),
        Some(other) => say(other.to_string()),
    }
}
