//! Decides what a record says: a made-up user, as the random-user services that streaming
//! walkthroughs feed on return them (`name`, `dob`, `cell`, `location`, `email`).
//!
//! Deliberately absent: real people. Every part is drawn from the short lists below.

use serde_json::json;

use crate::random::Dice;

const TITLES: [&str; 4] = ["Ms", "Mr", "Mrs", "Dr"];
const FIRST: [&str; 12] = [
    "Ada", "Björn", "Chidi", "Dalia", "Emre", "Farah", "Goro", "Hana", "Iker", "Jana", "Kofi",
    "Lena",
];
const LAST: [&str; 12] = [
    "Abara", "Brandt", "Castro", "Dubois", "Eriksen", "Fuchs", "Gupta", "Haddad", "Ito", "Jensen",
    "Kaya", "Lopez",
];
const CITIES: [&str; 10] = [
    "Accra", "Bergen", "Chennai", "Delft", "Essen", "Faro", "Graz", "Hobart", "Izmir", "Jaipur",
];
const COUNTRIES: [&str; 5] = ["Norway", "India", "Portugal", "Austria", "Ghana"];

/// One user as JSON text, padded to `at_least` bytes.
pub(super) fn record(dice: &mut Dice, at_least: usize) -> String {
    let (first, last) = (dice.pick(&FIRST), dice.pick(&LAST));
    let year = 1940 + dice.below(65);
    let (month, day) = (1 + dice.below(12), 1 + dice.below(28));
    let mut user = json!({
        "name": { "title": dice.pick(&TITLES), "first": first, "last": last },
        "dob": { "date": format!("{year}-{month:02}-{day:02}T00:00:00.000Z"), "age": 2026 - year },
        "cell": format!("{:03}-{:03}-{:04}", dice.below(1000), dice.below(1000), dice.below(10_000)),
        "location": { "city": dice.pick(&CITIES), "country": dice.pick(&COUNTRIES) },
        "email": format!("{first}.{last}@example.com").to_lowercase(),
    });
    let size = user.to_string().len();
    let frame = ",\"padding\":\"\"".len();
    if size < at_least
        && let Some(fields) = user.as_object_mut()
    {
        let padding = at_least.saturating_sub(size + frame);
        fields.insert("padding".to_owned(), "x".repeat(padding).into());
    }
    user.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_the_fields_that_the_walkthrough_selects() {
        let text = record(&mut Dice::new(1, "user"), 0);
        let user: serde_json::Value = serde_json::from_str(&text).unwrap();
        for path in [
            "/name/first",
            "/name/last",
            "/name/title",
            "/dob/date",
            "/cell",
            "/location/city",
            "/email",
        ] {
            assert!(
                user.pointer(path).is_some_and(serde_json::Value::is_string),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn a_record_is_padded_to_the_asked_size() {
        assert_eq!(record(&mut Dice::new(1, "user"), 2_000).len(), 2_000);
    }
}
