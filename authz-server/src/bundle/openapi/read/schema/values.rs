//! Values that stand in schemas: `enum`, `const` and `default`, and whether they can be what their schema asks for.

use super::Reading;
use crate::bundle::lints::Lint;
use crate::bundle::openapi::model::{Decimal, Json, Schema, TypeSet, Version};
use crate::bundle::openapi::read::Fields;
use crate::bundle::yaml::{Node, Span, Value};

impl<'d> Reading<'d> {
    /// `enum` and `const`. In the order of the document: it is a set, and people read it.
    pub(super) fn values(&mut self, fields: Fields<'d>, types: TypeSet) -> Option<Box<[Json]>> {
        if let Some(node) = fields.find("const") {
            let value = self.json(node)?;
            self.check_type(node, "const", &value, types);
            self.check_const(fields, node, &value);
            return Some(Box::new([value]));
        }
        let (key, node) = fields.entry("enum")?;
        let items = self.list(node)?;
        if items.is_empty() {
            self.wrong(key.at, "`enum` is empty", "no value could be sent; name those that can");
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Some(value) = self.json(item) else { continue };
            self.check_type(item, "enum", &value, types);
            values.push(value);
        }
        let nullable = matches!(fields.find("nullable"), Some(Node { value: Value::Bool(true), .. }));
        if self.version == Version::V30 && nullable && !values.contains(&Json::Null) {
            let message = "`nullable` beside an `enum` without `null`: `null` is still refused";
            self.lint(key.at, Lint::NullableEnum, message, "add `null` to the `enum`, or remove `nullable`");
        }
        Some(values.into())
    }

    /// Beside a `const` an `enum` has nothing more to say, unless it says that the one value is none.
    fn check_const(&mut self, fields: Fields<'d>, node: &'d Node, value: &Json) {
        let Some(all) = fields.find("enum") else { return };
        let items = self.list(all).unwrap_or_default();
        if !items.iter().filter_map(|item| self.json(item)).any(|item| item == *value) {
            let message = format!("`const` has {value}, which is none of the values of `enum`");
            self.wrong(node.at, message, "no value could be sent; remove one of the two");
        }
    }

    fn check_type(&mut self, node: &'d Node, keyword: &str, value: &Json, types: TypeSet) {
        if !types.meets(TypeSet::of(value)) {
            let message = format!("`{keyword}` has {value}, which is not of type {types}");
            let help = match value {
                Json::Null if self.version == Version::V30 => "write `nullable: true`, or remove the value",
                Json::Number(_) | Json::Bool(_) if types == TypeSet::STRING => "quote it, or mend `type`",
                _ => "no request could have it; mend the value or `type`",
            };
            self.wrong(node.at, message, help);
        }
    }

    /// A default says what a service assumes; it is nothing that a request must keep to.
    pub(super) fn check_default(&mut self, fields: Fields<'d>, schema: &Schema) {
        let Some(node) = fields.find("default") else { return };
        let Some(value) = self.json(node) else { return };
        let fits = schema.types.meets(TypeSet::of(&value))
            && schema.values.as_ref().is_none_or(|values| values.contains(&value));
        // `default: null` is how many people write that there is none.
        if !fits && value != Json::Null {
            let message = format!("the default {value} is none of the values that the schema accepts");
            self.lint(node.at, Lint::DefaultRefused, message, "mend the default or the schema");
        }
    }

    /// A value as it stands here.
    pub(super) fn json(&mut self, node: &'d Node) -> Option<Json> {
        Some(match &node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(written) => Json::Number(self.decimal_of(node.at, written)?),
            Value::Text(text) => Json::Text(text.as_str().into()),
            Value::List(items) => Json::List(items.iter().filter_map(|item| self.json(item)).collect()),
            Value::Map(entries) => {
                let mut object: Vec<_> = entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.text.as_str().into(), self.json(value)?)))
                    .collect();
                object.sort_by(|(one, _), (other, _): &(Box<str>, Json)| one.cmp(other));
                Json::Object(object.into())
            }
        })
    }

    pub(super) fn decimal(&mut self, node: &'d Node) -> Option<Decimal> {
        match &node.value {
            Value::Number(written) => self.decimal_of(node.at, written),
            _ => {
                self.expected(node, "a number");
                None
            }
        }
    }

    fn decimal_of(&mut self, at: Span, written: &str) -> Option<Decimal> {
        let number = Decimal::parse(written);
        if number.is_none() {
            let message = format!("`{written}` is not a number that can be kept exactly");
            self.wrong(at, message, "expected a finite number of at most 36 digits");
        }
        number
    }

    /// A whole number from zero.
    pub(super) fn count(&mut self, fields: Fields<'d>, key: &str) -> Option<u64> {
        let node = fields.find(key)?;
        let number = self.decimal(node)?;
        let count = number.is_whole().then(|| number.to_string().parse().ok()).flatten();
        if count.is_none() {
            let message = format!("`{key}` is {number}");
            self.wrong(node.at, message, "expected a whole number from 0");
        }
        count
    }
}
