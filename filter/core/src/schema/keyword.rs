//! The rules of a schema by name, as whoever looks after a contract knows them.

/// Declares the keywords once: variant, the word in a schema, and the code that a refusal by it has.
macro_rules! keywords {
    ($($variant:ident $word:literal $code:literal;)*) => {
        /// A rule that a value can break.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Keyword { $($variant),* }

        impl Keyword {
            pub const ALL: &'static [Keyword] = &[$(Keyword::$variant),*];

            /// As it stands in a schema.
            pub const fn as_str(self) -> &'static str {
                match self { $(Keyword::$variant => $word),* }
            }

            /// The stable code of a refusal by this rule.
            pub const fn code(self) -> &'static str {
                match self { $(Keyword::$variant => $code),* }
            }
        }
    };
}

keywords! {
    Type "type" "schema_type";
    False "false" "schema_undeclared";
    Enum "enum" "schema_value";
    Minimum "minimum" "schema_number";
    Maximum "maximum" "schema_number";
    ExclusiveMinimum "exclusiveMinimum" "schema_number";
    ExclusiveMaximum "exclusiveMaximum" "schema_number";
    MultipleOf "multipleOf" "schema_number";
    MinLength "minLength" "schema_length";
    MaxLength "maxLength" "schema_length";
    Pattern "pattern" "schema_pattern";
    Format "format" "schema_format";
    MinItems "minItems" "schema_items";
    MaxItems "maxItems" "schema_items";
    UniqueItems "uniqueItems" "schema_unique";
    Contains "contains" "schema_items";
    MinContains "minContains" "schema_items";
    MaxContains "maxContains" "schema_items";
    PrefixItems "prefixItems" "schema_undeclared";
    Items "items" "schema_undeclared";
    UnevaluatedItems "unevaluatedItems" "schema_undeclared";
    Required "required" "schema_required";
    DependentRequired "dependentRequired" "schema_required";
    Properties "properties" "schema_undeclared";
    PatternProperties "patternProperties" "schema_undeclared";
    AdditionalProperties "additionalProperties" "schema_undeclared";
    UnevaluatedProperties "unevaluatedProperties" "schema_undeclared";
    ReadOnly "readOnly" "schema_read_only";
    WriteOnly "writeOnly" "schema_write_only";
    PropertyNames "propertyNames" "schema_undeclared";
    MinProperties "minProperties" "schema_properties";
    MaxProperties "maxProperties" "schema_properties";
    AnyOf "anyOf" "schema_choice";
    OneOf "oneOf" "schema_choice";
    Not "not" "schema_choice";
}
