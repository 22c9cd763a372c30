//! User data between Protobuf's Struct and the vendor's JSON, without a tree in between.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::grpc::validate::{Rule, Violations, unless};

/// The largest whole number that every JSON reader keeps exactly: 2^53 - 1.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_991.0;

/// The user data as JSON.
const LARGEST: usize = 64 * 1024;

/// What a byte of Protobuf takes as JSON at most: a control character, as `\u0007`.
const MOST_PER_BYTE: usize = 6;

/// Deeper values of the vendor are given as their JSON text: Protobuf readers stop at a
/// nesting of about a hundred messages, and each level here takes three. Callers send none that are,
/// as a write that is not read as it was sent would never be confirmed.
const DEEPEST: usize = 16;

/// Names everything that may not be sent. `undocumented` allows the values that the vendor's
/// documents do not mention.
pub(super) fn check(data: Option<&Struct>, undocumented: bool, violations: &mut Violations) {
    let Some(data) = data.filter(|data| !data.fields.is_empty()) else {
        violations.check(false, "user_data", "must not be empty");
        return;
    };
    for (key, value) in &data.fields {
        let key_rule = unless(!key.is_empty(), "a key must not be empty");
        let value_rule = allowed(value, undocumented, 0).err().map(Rule::from);
        let broken = key_rule.into_iter().chain(value_rule);
        violations.field(format_args!("user_data.{key}"), broken);
    }
    let rule = "must be at most 64 KiB as JSON";
    violations.check(!is_too_large(data), "user_data", rule);
}

/// Nearly all data is known to be small enough without being written for it.
fn is_too_large(data: &Struct) -> bool {
    data.encoded_len() > LARGEST / MOST_PER_BYTE
        && serde_json::to_vec(&Json(data)).is_ok_and(|json| json.len() > LARGEST)
}

fn allowed(value: &Value, undocumented: bool, depth: usize) -> Result<(), &'static str> {
    let within = |inner: &Value| allowed(inner, true, depth + 1);
    match &value.kind {
        None => Err("has no value at all"),
        Some(Kind::StringValue(_)) => Ok(()),
        Some(Kind::NumberValue(number)) => allowed_number(*number, undocumented),
        Some(_) if !undocumented => Err("must be a string or a whole number"),
        Some(Kind::NullValue(0) | Kind::BoolValue(_)) => Ok(()),
        Some(Kind::NullValue(_)) => Err("is no value of NullValue"),
        Some(Kind::ListValue(_) | Kind::StructValue(_)) if depth >= DEEPEST => {
            Err("must not be nested more than 16 levels deep")
        }
        Some(Kind::ListValue(list)) => list.values.iter().try_for_each(within),
        Some(Kind::StructValue(data)) => data.fields.values().try_for_each(within),
    }
}

fn allowed_number(number: f64, undocumented: bool) -> Result<(), &'static str> {
    if !number.is_finite() {
        return Err("must be a number that JSON has");
    }
    if number.fract() != 0.0 {
        return if undocumented {
            Ok(())
        } else {
            Err("must be a whole number")
        };
    }
    if number.abs() > LARGEST_WHOLE {
        return Err("must be within ±(2^53-1); send a larger number as a string");
    }
    Ok(())
}

/// A checked Struct as the vendor's JSON object.
pub(super) struct Json<'a>(pub(super) &'a Struct);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.fields.len()))?;
        for (key, value) in &self.0.fields {
            map.serialize_entry(key, &JsonValue(value))?;
        }
        map.end()
    }
}

struct JsonValue<'a>(&'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None => Err(S::Error::custom("a value of no kind")),
            Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Kind::StringValue(value)) => serializer.serialize_str(value),
            Some(Kind::StructValue(value)) => Json(value).serialize(serializer),
            Some(Kind::NumberValue(value)) => number(*value, serializer),
            Some(Kind::ListValue(list)) => {
                let mut seq = serializer.serialize_seq(Some(list.values.len()))?;
                for value in &list.values {
                    seq.serialize_element(&JsonValue(value))?;
                }
                seq.end()
            }
        }
    }
}

/// Whole numbers go out as JSON integers: `987654321` and `987654321.0` differ to the vendor.
fn number<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE {
        serializer.serialize_i64(value as i64)
    } else {
        serializer.serialize_f64(value)
    }
}

/// The vendor's object.
pub(super) struct UserData(pub(super) Struct);

impl<'de> Deserialize<'de> for UserData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields { depth: 0 }.deserialize(deserializer).map(UserData)
    }
}

/// An object that is nested so deep.
struct Fields {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Struct;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Struct, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Struct;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Struct, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = pairs.next_entry()? {
            let value = read_value(value, self.depth).map_err(de::Error::custom)?;
            fields.insert(key, value);
        }
        Ok(Struct { fields })
    }
}

fn read_value(json: &RawValue, depth: usize) -> Result<Value, serde_json::Error> {
    let text = json.get();
    let kind = match text.as_bytes().first() {
        Some(b'n') => Kind::NullValue(0),
        Some(b't') => Kind::BoolValue(true),
        Some(b'f') => Kind::BoolValue(false),
        Some(b'"') => Kind::StringValue(serde_json::from_str(text)?),
        Some(b'{' | b'[') if depth >= DEEPEST => Kind::StringValue(text.to_owned()),
        Some(b'{') => {
            let fields = Fields { depth: depth + 1 };
            Kind::StructValue(fields.deserialize(&mut serde_json::Deserializer::from_str(text))?)
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text)?;
            let values = values.into_iter().map(|value| read_value(value, depth + 1));
            Kind::ListValue(ListValue {
                values: values.collect::<Result<_, _>>()?,
            })
        }
        _ => read_number(text),
    };
    Ok(Value { kind: Some(kind) })
}

/// What a double cannot hold is given as it is written: an integer that it would change, and any
/// number beyond its range.
fn read_number(text: &str) -> Kind {
    let integer = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let holds = |number: f64| {
        let exact = |whole: i128| (number as i128) == whole && number.abs() < 1e38;
        number.is_finite() && (!integer || text.parse().is_ok_and(exact))
    };
    match text.parse() {
        Ok(number) if holds(number) => Kind::NumberValue(number),
        _ => Kind::StringValue(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(json: &str) -> Struct {
        serde_json::from_str::<UserData>(json).unwrap().0
    }

    fn json(data: &Struct) -> String {
        serde_json::to_string(&Json(data)).unwrap()
    }

    fn string(text: &str) -> Option<Kind> {
        Some(Kind::StringValue(text.to_owned()))
    }

    #[test]
    fn the_documented_samples_survive_the_round_trip() {
        for sample in [
            r#"{"UserData1":"DATA1","UserData2":123456789}"#,
            r#"{"UserData1":987654321,"UserData2":"DATAUPDATE-@123"}"#,
            r#"{"CBR-IT-path_DBIDs":"","PegAGChat distribution for processing":null}"#,
        ] {
            assert_eq!(json(&of(sample)), sample);
        }
    }

    #[test]
    fn integers_that_a_double_cannot_hold_become_strings() {
        let data = of(
            r#"{"a":9007199254740993,"b":9007199254740992,"c":-1307145259662215169,
                "d":123456789012345678901234567890123456789012345,"e":1.5,"f":1e3,"g":0,
                "h":170141183460469231731687303715884105727}"#,
        );
        let kind = |key: &str| data.fields[key].kind.clone();
        assert_eq!(kind("a"), string("9007199254740993"));
        assert_eq!(kind("b"), Some(Kind::NumberValue(9_007_199_254_740_992.0)));
        assert_eq!(kind("c"), string("-1307145259662215169"));
        assert_eq!(
            kind("d"),
            string("123456789012345678901234567890123456789012345")
        );
        assert_eq!(kind("e"), Some(Kind::NumberValue(1.5)));
        assert_eq!(kind("f"), Some(Kind::NumberValue(1000.0)));
        assert_eq!(kind("g"), Some(Kind::NumberValue(0.0)));
        // The largest of 128 bits, to which a double is cut that is beyond it.
        assert_eq!(kind("h"), string("170141183460469231731687303715884105727"));
    }

    /// One such value must not make its session unreadable, and with it all of an agent's.
    #[test]
    fn numbers_beyond_every_double_become_strings_too() {
        let digits = "7".repeat(400);
        for number in [digits.as_str(), "1e400", "-1.5e999"] {
            let data = of(&format!(r#"{{"a":{number}}}"#));
            assert_eq!(data.fields["a"].kind, string(number));
        }
    }

    #[test]
    fn deep_values_become_text_and_do_not_overflow() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        let mut value = of(&deep).fields["a"].clone();
        let mut levels = 0;
        while let Some(Kind::ListValue(list)) = value.kind {
            value = list.values[0].clone();
            levels += 1;
        }
        assert_eq!(levels, DEEPEST);
        assert!(matches!(value.kind, Some(Kind::StringValue(text)) if text.starts_with("[[")));
    }

    #[test]
    fn what_may_be_sent() {
        let value = |kind| Value { kind };
        let nested = Kind::StructValue(of(r#"{"x":true}"#));
        let list = Kind::ListValue(ListValue {
            values: vec![value(None)],
        });
        // (value, allowed as documented, allowed with undocumented values)
        let table = [
            (string(""), true, true),
            (
                Some(Kind::NumberValue(-9_007_199_254_740_991.0)),
                true,
                true,
            ),
            (
                Some(Kind::NumberValue(9_007_199_254_740_992.0)),
                false,
                false,
            ),
            (Some(Kind::NumberValue(0.5)), false, true),
            (Some(Kind::NumberValue(f64::NAN)), false, false),
            (Some(Kind::NumberValue(f64::INFINITY)), false, false),
            (Some(Kind::NullValue(0)), false, true),
            (Some(Kind::BoolValue(true)), false, true),
            (Some(nested), false, true),
            (Some(list), false, false),
            (None, false, false),
        ];
        for (kind, documented, undocumented) in table {
            let value = value(kind);
            assert_eq!(allowed(&value, false, 0).is_ok(), documented, "{value:?}");
            assert_eq!(allowed(&value, true, 0).is_ok(), undocumented, "{value:?}");
        }
    }

    #[test]
    fn the_largest_is_counted_as_json_has_it() {
        // (character, as many of them fit beside `{"k":""}`)
        for (character, most) in [
            ("a", 65_528),
            ("\u{7}", 10_921),
            ("\"", 32_764),
            ("ß", 32_764),
        ] {
            let data = |number| Struct {
                fields: [(
                    "k".to_owned(),
                    Value {
                        kind: string(&character.repeat(number)),
                    },
                )]
                .into(),
            };
            assert!(!is_too_large(&data(most)), "{character:?}");
            assert!(is_too_large(&data(most + 1)), "{character:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            any::<bool>().prop_map(Kind::BoolValue),
            any::<f64>().prop_map(Kind::NumberValue),
            any::<String>().prop_map(Kind::StringValue),
        ];
        let value = |kind| Value { kind: Some(kind) };
        leaf.prop_map(value).prop_recursive(4, 30, 4, move |inner| {
            let values = prop::collection::vec(inner.clone(), 0..4);
            let fields = prop::collection::btree_map(any::<String>(), inner, 0..4);
            prop_oneof![
                values.prop_map(move |values| value(Kind::ListValue(ListValue { values }))),
                fields.prop_map(move |fields| value(Kind::StructValue(Struct { fields }))),
            ]
        })
    }

    /// A confirmed write is known by what is read of it.
    #[test]
    fn what_may_be_sent_is_read_as_it_was() {
        let mut value = Value {
            kind: Some(Kind::NullValue(0)),
        };
        let mut levels = 0;
        while allowed(&value, true, 0).is_ok() {
            let data = Struct {
                fields: [("a".to_owned(), value.clone())].into(),
            };
            assert_eq!(of(&json(&data)), data, "{levels} levels");
            let kind = match levels % 2 {
                0 => Kind::StructValue(data),
                _ => Kind::ListValue(ListValue {
                    values: vec![value],
                }),
            };
            value = Value { kind: Some(kind) };
            levels += 1;
        }
        assert_eq!(levels, DEEPEST + 1, "the first that may not");
        let unknown = Value {
            kind: Some(Kind::NullValue(1)),
        };
        assert!(allowed(&unknown, true, 0).is_err());
    }

    proptest! {
        #[test]
        fn no_json_takes_more_than_told(
            fields in prop::collection::btree_map(any::<String>(), any_value(), 0..5)
        ) {
            let data = Struct { fields };
            // The braces around all stand in no field.
            let most = data.encoded_len() * MOST_PER_BYTE + 2;
            prop_assert!(json(&data).len() <= most, "{data:?}");
        }

        #[test]
        fn whole_numbers_and_strings_survive(
            fields in prop::collection::btree_map(".{0,20}", prop_oneof![
                ".{0,40}".prop_map(Kind::StringValue),
                (-9_007_199_254_740_991i64..=9_007_199_254_740_991)
                    .prop_map(|n| Kind::NumberValue(n as f64)),
            ], 0..20)
        ) {
            let fields = fields.into_iter().map(|(k, kind)| (k, Value { kind: Some(kind) }));
            let data = Struct { fields: fields.collect() };
            prop_assert_eq!(of(&json(&data)), data);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<UserData>(&bytes);
        }
    }
}
