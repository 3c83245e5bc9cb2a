//! `record!` and `choice!`: one declaration gives the type, its reader and its rows of the reference.

/// Declares a record: the type, its reader and its reference. Each key is `required` or `optional`; an optional one
/// that is absent is its type's default.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($derived:ident)])?
        $vis:vis struct $name:ident {
            $( $(#[doc = $key_doc:literal])+ $need:ident $key:ident: $kind:ty, )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone $(, $derived)?)]
        $vis struct $name {
            $( $(#[doc = $key_doc])+ pub $key: $kind, )*
        }

        impl $name {
            $vis const KEYS: $crate::bundle::record::RecordKeys = $crate::bundle::record::RecordKeys {
                name: stringify!($name),
                doc: &[$($doc),+],
                keys: &[$($crate::bundle::record::KeyReference {
                    name: stringify!($key),
                    required: $crate::bundle::record::record!(@is_required $need),
                    expected: <$kind as $crate::bundle::record::Read>::EXPECTED,
                    doc: &[$($key_doc),+],
                    record: <$kind as $crate::bundle::record::Read>::record,
                },)*],
            };
        }

        impl $crate::bundle::record::Read for $name {
            const EXPECTED: &'static str = "a map";

            fn read(
                node: &$crate::bundle::yaml::Node,
                reader: &mut $crate::bundle::record::Reader<'_>,
            ) -> Option<Self> {
                let entries = $crate::bundle::record::Entries::of(node, &Self::KEYS, reader)?;
                // All keys are read before one that failed ends it, so that every problem is reported.
                $( let $key = entries.$need::<$kind>(stringify!($key), reader); )*
                Some($name { $( $key: $key?, )* })
            }

            fn record() -> Option<&'static $crate::bundle::record::RecordKeys> {
                Some(&Self::KEYS)
            }
        }
    };
    (@is_required required) => { true };
    (@is_required optional) => { false };
}

/// Declares words of which one is chosen.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $name:ident: $expected:literal {
            $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $( $(#[doc = $word_doc])* $variant, )+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// As it is written.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }

            /// What it means.
            pub fn doc(self) -> String {
                match self { $( $name::$variant => $crate::bundle::record::one_line(&[$($word_doc),*]), )+ }
            }
        }

        impl $crate::bundle::record::Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(
                node: &$crate::bundle::yaml::Node,
                reader: &mut $crate::bundle::record::Reader<'_>,
            ) -> Option<Self> {
                match node.as_text() {
                    $( Some($word) => Some($name::$variant), )+
                    Some(other) => {
                        let message = format!("expected {}, found `{other}`", $expected);
                        let problem = $crate::bundle::Problem::new(reader.place(node.at), message)
                            .suggest(other, [$($word),+]);
                        // Few words stand in what was expected already.
                        let words = [$(concat!("`", $word, "`")),+];
                        reader.push(if $expected.contains('`') {
                            problem
                        } else {
                            problem.help(format!("there are {}", words.join(", ")))
                        });
                        None
                    }
                    None => {
                        reader.expected::<Self>(node);
                        None
                    }
                }
            }
        }
    };
}

pub(crate) use {choice, record};
