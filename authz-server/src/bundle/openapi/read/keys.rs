//! Which keys each object of OpenAPI may have, in each of the two dialects, and what to say of those that people bring
//! from elsewhere.

use crate::bundle::openapi::model::Version;

/// The keys of one kind of object.
pub(super) struct ObjectKeys {
    /// With an article, for messages.
    pub(super) name: &'static str,
    both: &'static [&'static str],
    only_30: &'static [&'static str],
    only_31: &'static [&'static str],
    /// Keys that are none here, with what their author should write.
    hints: &'static [(&'static str, &'static str)],
}

impl ObjectKeys {
    pub(super) fn know(&self, key: &str, version: Version) -> bool {
        self.of(version).any(|known| known == key)
    }

    pub(super) fn of(&self, version: Version) -> impl Iterator<Item = &'static str> {
        let more = match version {
            Version::V30 => self.only_30,
            Version::V31 => self.only_31,
        };
        self.both.iter().chain(more).copied()
    }

    pub(super) fn hint(&self, key: &str, version: Version) -> Option<String> {
        if let Some((_, hint)) = self.hints.iter().find(|(known, _)| *known == key) {
            return Some((*hint).to_owned());
        }
        let (others, other) = match version {
            Version::V30 => (self.only_31, "3.1"),
            Version::V31 => (self.only_30, "3.0"),
        };
        others
            .contains(&key)
            .then(|| format!("it belongs to OpenAPI {other}, and this document is not in it"))
    }
}

const fn plain(name: &'static str, both: &'static [&'static str]) -> ObjectKeys {
    ObjectKeys { name, both, only_30: &[], only_31: &[], hints: &[] }
}

const IN_SCHEMA: &str = "in OpenAPI 3 it stands under `schema`";
const BUNDLE: &str = "references stand only in place of schemas, parameters, bodies, responses and headers; bundle the document into one file";

pub(super) static DOCUMENT: ObjectKeys = ObjectKeys {
    only_31: &["webhooks", "jsonSchemaDialect"],
    hints: &[
        ("definitions", "OpenAPI 3 keeps schemas under `components`, `schemas`"),
        ("host", "OpenAPI 3 has `servers`"),
        ("basePath", "OpenAPI 3 has `servers`"),
        ("schemes", "OpenAPI 3 has `servers`"),
        ("consumes", "OpenAPI 3 names media types in each `requestBody`"),
        ("produces", "OpenAPI 3 names media types in each response"),
        ("securityDefinitions", "OpenAPI 3 has `components`, `securitySchemes`"),
        ("parameters", "shared parameters stand under `components`"),
        ("responses", "shared responses stand under `components`"),
        ("schemas", "it stands under `components`"),
    ],
    ..plain(
        "a document",
        &["openapi", "info", "servers", "paths", "components", "security", "tags", "externalDocs"],
    )
};

pub(super) static INFO: ObjectKeys = ObjectKeys {
    only_31: &["summary"],
    ..plain("the info object", &["title", "description", "termsOfService", "contact", "license", "version"])
};

pub(super) static CONTACT: ObjectKeys = plain("a contact", &["name", "url", "email"]);

pub(super) static LICENSE: ObjectKeys =
    ObjectKeys { only_31: &["identifier"], ..plain("a license", &["name", "url"]) };

pub(super) static TAG: ObjectKeys = plain("a tag", &["name", "description", "externalDocs"]);

pub(super) static EXTERNAL_DOCS: ObjectKeys = plain("external documentation", &["description", "url"]);

pub(super) static SERVER: ObjectKeys = plain("a server", &["url", "description", "variables"]);

pub(super) static SERVER_VARIABLE: ObjectKeys =
    plain("a server variable", &["enum", "default", "description"]);

pub(super) static COMPONENTS: ObjectKeys = ObjectKeys {
    only_31: &["pathItems"],
    ..plain(
        "the components",
        &[
            "schemas",
            "responses",
            "parameters",
            "examples",
            "requestBodies",
            "headers",
            "securitySchemes",
            "links",
            "callbacks",
        ],
    )
};

pub(super) static PATH_ITEM: ObjectKeys = ObjectKeys {
    hints: &[
        ("query", "the method `QUERY` belongs to OpenAPI 3.2, which is not read yet"),
        ("connect", "CONNECT is never passed on; remove it"),
    ],
    ..plain(
        "a path",
        &[
            "$ref",
            "summary",
            "description",
            "get",
            "put",
            "post",
            "delete",
            "options",
            "head",
            "patch",
            "trace",
            "servers",
            "parameters",
        ],
    )
};

pub(super) static OPERATION: ObjectKeys = ObjectKeys {
    hints: &[
        ("$ref", BUNDLE),
        ("consumes", "OpenAPI 3 names media types in `requestBody`"),
        ("produces", "OpenAPI 3 names media types in each response"),
        ("schemes", "OpenAPI 3 has `servers`"),
    ],
    ..plain(
        "an operation",
        &[
            "tags",
            "summary",
            "description",
            "externalDocs",
            "operationId",
            "parameters",
            "requestBody",
            "responses",
            "callbacks",
            "deprecated",
            "security",
            "servers",
        ],
    )
};

pub(super) static PARAMETER: ObjectKeys = ObjectKeys {
    hints: &[
        ("type", IN_SCHEMA),
        ("format", IN_SCHEMA),
        ("enum", IN_SCHEMA),
        ("default", IN_SCHEMA),
        ("items", IN_SCHEMA),
        ("pattern", IN_SCHEMA),
        ("minimum", IN_SCHEMA),
        ("maximum", IN_SCHEMA),
        ("minLength", IN_SCHEMA),
        ("maxLength", IN_SCHEMA),
        ("nullable", IN_SCHEMA),
        ("collectionFormat", "OpenAPI 3 has `style` and `explode`"),
    ],
    ..plain(
        "a parameter",
        &[
            "name",
            "in",
            "description",
            "required",
            "deprecated",
            "allowEmptyValue",
            "style",
            "explode",
            "allowReserved",
            "schema",
            "example",
            "examples",
            "content",
        ],
    )
};

pub(super) static HEADER: ObjectKeys = ObjectKeys {
    hints: &[
        ("type", IN_SCHEMA),
        ("format", IN_SCHEMA),
        ("name", "a header's name is its key"),
        ("in", "a header's name is its key, and where it stands is known"),
    ],
    ..plain(
        "a header",
        &[
            "description",
            "required",
            "deprecated",
            "allowEmptyValue",
            "style",
            "explode",
            "allowReserved",
            "schema",
            "example",
            "examples",
            "content",
        ],
    )
};

pub(super) static REQUEST_BODY: ObjectKeys = ObjectKeys {
    hints: &[("schema", "it stands under `content` and a media type"), ("name", "a body has no name")],
    ..plain("a request body", &["description", "content", "required"])
};

pub(super) static MEDIA_TYPE: ObjectKeys = ObjectKeys {
    hints: &[
        ("type", IN_SCHEMA),
        ("properties", IN_SCHEMA),
        ("$ref", "a schema's reference stands under `schema`"),
    ],
    ..plain("a media type", &["schema", "example", "examples", "encoding"])
};

pub(super) static ENCODING: ObjectKeys =
    plain("an encoding", &["contentType", "headers", "style", "explode", "allowReserved"]);

pub(super) static RESPONSE: ObjectKeys = ObjectKeys {
    hints: &[
        ("schema", "it stands under `content` and a media type"),
        ("examples", "they stand under `content` and a media type"),
    ],
    ..plain("a response", &["description", "headers", "content", "links"])
};

pub(super) static DISCRIMINATOR: ObjectKeys = plain("a discriminator", &["propertyName", "mapping"]);

pub(super) static SECURITY_SCHEME: ObjectKeys = plain(
    "a security scheme",
    &["type", "description", "name", "in", "scheme", "bearerFormat", "flows", "openIdConnectUrl"],
);

pub(super) static SCHEMA: ObjectKeys = ObjectKeys {
    only_30: &["nullable"],
    only_31: &[
        "$schema",
        "$comment",
        "$defs",
        "const",
        "if",
        "then",
        "else",
        "prefixItems",
        "contains",
        "minContains",
        "maxContains",
        "patternProperties",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedItems",
        "unevaluatedProperties",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "examples",
    ],
    hints: &[
        ("nullable", "OpenAPI 3.1 writes `type: [string, \"null\"]`"),
        ("const", "OpenAPI 3.0 has no `const`; write `enum` with one value"),
        ("examples", "OpenAPI 3.0 has `example`"),
        ("definitions", "3.1 has `$defs`; shared schemas stand under `components`"),
        ("dependencies", "write `dependentRequired` or `dependentSchemas`"),
        ("additionalItems", "write `items`, with `prefixItems` for the first ones"),
        ("id", "a property of this name stands under `properties`"),
        ("name", "a property of this name stands under `properties`"),
        ("$id", "it would change what references mean; remove it and refer by `#/components/schemas/<name>`"),
        ("$anchor", "anchors are not followed; refer by `#/components/schemas/<name>`"),
        ("$dynamicRef", "dynamic references are not followed; write `$ref`"),
        ("$dynamicAnchor", "dynamic references are not followed; write `$ref`"),
        (
            "$recursiveRef",
            "it belongs to an older JSON Schema; write `$ref: \"#/components/schemas/<name>\"`",
        ),
        (
            "$recursiveAnchor",
            "it belongs to an older JSON Schema; remove it and write `$ref` where it was used",
        ),
        ("$vocabulary", "only metaschemas have it"),
        ("optional", "a property is optional unless `required` of its object names it"),
        ("divisibleBy", "write `multipleOf`"),
        ("extends", "write `allOf`"),
        ("file", "write `type: string` and `format: binary`"),
    ],
    ..plain(
        "a schema",
        &[
            "$ref",
            "title",
            "multipleOf",
            "maximum",
            "exclusiveMaximum",
            "minimum",
            "exclusiveMinimum",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "uniqueItems",
            "maxProperties",
            "minProperties",
            "required",
            "enum",
            "type",
            "allOf",
            "oneOf",
            "anyOf",
            "not",
            "items",
            "properties",
            "additionalProperties",
            "description",
            "format",
            "default",
            "discriminator",
            "readOnly",
            "writeOnly",
            "xml",
            "externalDocs",
            "example",
            "deprecated",
        ],
    )
};

/// What a schema says to people only; beside a `$ref` of 3.0, which has no siblings, it loses nothing.
pub(super) const ANNOTATIONS: [&str; 10] = [
    "title",
    "description",
    "summary",
    "example",
    "examples",
    "deprecated",
    "externalDocs",
    "default",
    "xml",
    "$comment",
];
