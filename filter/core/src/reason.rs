//! Why a request was refused: one stable code per rule, with the reply that it gets.
//!
//! INVARIANT: a code never changes its meaning and is never used for a second rule; callers and dashboards key on it.

/// Declares the reasons once: variant, code, HTTP status, gRPC status and the sentence for the operator.
macro_rules! reasons {
    ($($variant:ident $code:literal $status:literal $grpc:ident $explains:literal;)*) => {
        /// The machine-readable cause of a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($variant),* }

        impl Reason {
            /// All reasons, in the order of the reference in the README.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// The stable code that the caller is told.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),* }
            }

            /// What stands in Envoy's access log as `response_code_details`.
            pub const fn details(self) -> &'static str {
                match self { $(Reason::$variant => concat!("palisade_", $code)),* }
            }

            /// The whole sentence for the operator; callers never see it.
            pub const fn explains(self) -> &'static str {
                match self { $(Reason::$variant => $explains),* }
            }

            /// The status of the reply to an HTTP caller.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status),* }
            }

            /// The status of the reply to a gRPC caller.
            pub const fn grpc_status(self) -> GrpcStatus {
                match self { $(Reason::$variant => GrpcStatus::$grpc),* }
            }
        }

        // INVARIANT: a refusal can never be sent with a status that callers take for success.
        $(const _: () = assert!($status >= 400 && $status <= 599, $code);)*
    };
}

/// The gRPC statuses that refusals use. `Unavailable` is retried by most callers, the others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcStatus {
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

reasons! {
    PathMissing "path_missing" 400 InvalidArgument "the request has no path";
    PathNotAbsolute "path_not_absolute" 400 InvalidArgument "the path does not begin with a slash";
    PathTooLong "path_too_long" 414 InvalidArgument "the path is longer than any operation needs";
    PathFragment "path_fragment" 400 InvalidArgument "a fragment never belongs into a request target; some routers cut it off after the rules were applied";
    PathEncodedSeparator "path_encoded_separator" 400 InvalidArgument "an encoded slash or backslash is a separator to some services and data to others";
    PathBackslash "path_backslash" 400 InvalidArgument "a backslash is a separator to some services and data to others";
    PathDotSegment "path_dot_segment" 400 InvalidArgument "a dot segment, plain or encoded, is resolved by some services and not by others";
    PathMatrixParameter "path_matrix_parameter" 400 InvalidArgument "a semicolon begins a parameter that some services strip before they route";
    PathEmptySegment "path_empty_segment" 400 InvalidArgument "an empty segment is merged by some services and kept by others";
    PathPercentInvalid "path_percent_invalid" 400 InvalidArgument "a percent sign is not followed by two hexadecimal digits";
    PathEncodedUnreserved "path_encoded_unreserved" 400 InvalidArgument "an encoded letter, digit, hyphen, underscore or tilde is a second spelling of the same path";
    PathEncodedPercent "path_encoded_percent" 400 InvalidArgument "an encoded percent sign becomes something else for a service that decodes twice";
    PathEncodedControl "path_encoded_control" 400 InvalidArgument "an encoded control byte has no place in a path";
    PathNotUtf8 "path_not_utf8" 400 InvalidArgument "the decoded path is not UTF-8";
    PathNotAscii "path_not_ascii" 400 InvalidArgument "the path holds bytes outside ASCII that should have been encoded";
    PathCharacter "path_character" 400 InvalidArgument "the path holds a character that a request target may not contain";
    PathTooDeep "path_too_deep" 400 InvalidArgument "the path has more segments than any route";
    QueryCharacter "query_character" 400 InvalidArgument "the query holds a character or an escape that a request target may not contain";
    QueryMethodOverride "query_method_override" 400 InvalidArgument "a query parameter asks the service to act under another method";
    QueryTooMany "query_too_many" 400 InvalidArgument "the query has more parameters than any operation needs";
    HostMissing "host_missing" 400 InvalidArgument "the request names no host";
    HostInvalid "host_invalid" 400 InvalidArgument "the host is not a name or address with an optional port";
    HostTrailingDot "host_trailing_dot" 400 InvalidArgument "a host with a trailing dot is a second spelling of the same host";
    HostUnknown "host_unknown" 404 NotFound "no service of the bundle is called by this host";
    SchemeInvalid "scheme_invalid" 400 InvalidArgument "the scheme is neither http nor https in lower case";
    MethodUnknown "method_unknown" 501 Unimplemented "the method is none that an operation can have";
    MethodNotDeclared "method_not_declared" 405 Unimplemented "the contract knows the path but not this method on it";
    OperationUnknown "operation_unknown" 404 Unimplemented "the contract has no operation for this path; what is not declared is refused";
    UpgradeNotDeclared "upgrade_not_declared" 403 PermissionDenied "an upgrade opens the body gate and the operation does not declare it";
    HeaderMapInvalid "header_map_invalid" 400 InvalidArgument "the headers could not be read";
    HeaderTooMany "header_too_many" 431 InvalidArgument "the request has more headers than the limit";
    HeaderNameInvalid "header_name_invalid" 400 InvalidArgument "a header name holds an underscore or another character that services read in different ways";
    HeaderValueInvalid "header_value_invalid" 400 InvalidArgument "a header value holds a control byte or is not UTF-8";
    HeaderDuplicate "header_duplicate" 400 InvalidArgument "a header that decides something came more than once";
    HeaderMethodOverride "header_method_override" 400 InvalidArgument "a header asks the service to act under another method or path";
    ContentTypeMissing "content_type_missing" 415 InvalidArgument "the request has a body and no content type";
    ContentTypeInvalid "content_type_invalid" 415 InvalidArgument "the content type is not one media type with an optional UTF-8 charset";
    ContentTypeNotDeclared "content_type_not_declared" 415 InvalidArgument "the operation does not accept this content type";
    ContentTypeNearGrpc "content_type_near_grpc" 415 InvalidArgument "the content type resembles gRPC but is not the spelling that the proxy treats as gRPC";
    ContentEncodingNotAllowed "content_encoding_not_allowed" 415 InvalidArgument "an encoded body cannot be judged";
    ContentLengthInvalid "content_length_invalid" 400 InvalidArgument "the content length is not one decimal number";
    HeaderHostOverride "header_host_override" 400 InvalidArgument "a header names another host than the one that the request is judged by";
    HeaderProxyControl "header_proxy_control" 400 InvalidArgument "a header tells the proxy how to treat the request, which is for its operator to say";
    HeaderConnection "header_connection" 400 InvalidArgument "the connection header names a header that does not belong to the connection, so that the next party would remove it";
    ExpectInvalid "expect_invalid" 417 InvalidArgument "the caller expects something else than 100-continue";
    EarlyData "early_data" 425 Unavailable "a request that changes something came before the handshake ended, and anybody could send it again";
    BodyMissing "body_missing" 400 InvalidArgument "the operation requires a body and the request has none";
    BodyNotDeclared "body_not_declared" 400 InvalidArgument "the operation takes no body and the request has one";
    BodyTooLarge "body_too_large" 413 ResourceExhausted "the body is larger than the operation accepts";
    BodyIncomplete "body_incomplete" 400 InvalidArgument "the body could not be seen whole";
    JsonSyntax "json_syntax" 400 InvalidArgument "the body is not one JSON document";
    JsonDuplicateKey "json_duplicate_key" 400 InvalidArgument "an object has the same key twice; services disagree about which one counts";
    JsonDepth "json_depth" 400 InvalidArgument "the JSON document is nested deeper than the limit";
    JsonEncoding "json_encoding" 400 InvalidArgument "the JSON document holds invalid UTF-8 or half of a surrogate pair";
    JsonNumber "json_number" 400 InvalidArgument "a number of the JSON document becomes another one in a double, as many services hold it";
    FormSyntax "form_syntax" 400 InvalidArgument "the form holds an escape that is none or a control byte, or is not UTF-8";
    FormAmbiguous "form_ambiguous" 400 InvalidArgument "a field of the form has two readings: it comes twice, has no equals sign, or its name or its list is another one to some services";
    FormTooMany "form_too_many" 400 InvalidArgument "the form has more fields than any operation needs";
    FormMethodOverride "form_method_override" 400 InvalidArgument "a field of the form asks the service to act under another method";
    TrailerNotAllowed "trailer_not_allowed" 400 InvalidArgument "a trailer has the name of a header that decides something, or is no header that everybody reads alike";
    QueryNotDeclared "query_not_declared" 400 InvalidArgument "the contract has no query parameter of this name";
    SchemaType "schema_type" 400 InvalidArgument "a value is of another type than the contract says";
    SchemaUndeclared "schema_undeclared" 400 InvalidArgument "a property or an item stands where the contract has none";
    SchemaValue "schema_value" 400 InvalidArgument "a value is none of those that the contract lists";
    SchemaNumber "schema_number" 400 InvalidArgument "a number is out of the contract's range, or no multiple of its step";
    SchemaLength "schema_length" 400 InvalidArgument "a text is longer or shorter than the contract says";
    SchemaPattern "schema_pattern" 400 InvalidArgument "a text does not match the contract's pattern";
    SchemaFormat "schema_format" 400 InvalidArgument "a text is not of the contract's format";
    SchemaItems "schema_items" 400 InvalidArgument "a list has more or fewer items of a kind than the contract says";
    SchemaUnique "schema_unique" 400 InvalidArgument "a list has equal items, and its contract says that they differ";
    SchemaRequired "schema_required" 400 InvalidArgument "a property that the contract requires is missing";
    SchemaReadOnly "schema_read_only" 400 InvalidArgument "a request sends a property that only the service sets";
    SchemaWriteOnly "schema_write_only" 400 InvalidArgument "a response carries a property that may only be sent to the service";
    SchemaProperties "schema_properties" 400 InvalidArgument "an object has more or fewer properties than the contract says";
    SchemaChoice "schema_choice" 400 InvalidArgument "a value is none of the contract's alternatives, or more than one of them";
    SchemaEffort "schema_effort" 400 InvalidArgument "judging the body would cost more than a body may";
    ResponseNotDeclared "response_not_declared" 502 Internal "the service answered with a status that its contract does not have";
    ResponseContentType "response_content_type" 502 Internal "the service answered with a content type that its contract does not have for this status";
    ResponseEncoded "response_encoded" 502 Internal "the service encoded a body that is to be judged";
    ResponseTooLarge "response_too_large" 502 Internal "the service answered with a larger body than can be judged";
    ResponseForbidden "response_forbidden" 502 Internal "the service's answer carries a header or a property that must never leave it";
    ProxyFull "proxy_full" 503 ResourceExhausted "the proxy holds as many bytes of bodies as it may; nothing of this one was kept";
    ShedLoad "shed_load" 429 ResourceExhausted "the service has as many requests in work as it can answer in time";
    ShedRetry "shed_retry" 429 ResourceExhausted "a retry came while retries are more than the service can bear beside first attempts";
    ShedShare "shed_share" 429 ResourceExhausted "the caller has its share of a service that cannot serve all who call";
    ShedDeadline "shed_deadline" 429 ResourceExhausted "the service could not answer within the time that the caller gives it";
    RateLimited "rate_limited" 429 ResourceExhausted "the caller sent more than the contract's rate limit lets through";
    ParameterMissing "parameter_missing" 400 InvalidArgument "a value that the contract requires, and that policies may ask for, is not in the request";
    ParameterMalformed "parameter_malformed" 400 InvalidArgument "a value that policies may ask for is not of the kind that its contract declares, or has two readings";
    IdentityInvalid "identity_invalid" 401 Unauthenticated "a credential was sent and does not hold";
    IdentityNotAccepted "identity_not_accepted" 401 Unauthenticated "the caller is proven, but not by a way that the service accepts";
    IdentityUnavailable "identity_unavailable" 503 Unavailable "whoever could say whether the credential holds cannot be asked";
    HandoffMissing "handoff_missing" 403 PermissionDenied "the call did not come through the filter";
    HandoffForged "handoff_forged" 403 PermissionDenied "the proof that the filter ran does not verify: wrong secret, or not our filter";
    HandoffStale "handoff_stale" 403 PermissionDenied "the proof that the filter ran is older than a request can be, or from the future";
    HandoffBundleUnknown "handoff_bundle_unknown" 403 PermissionDenied "the filter works with a bundle that this server neither serves nor served lately";
    HandoffMismatch "handoff_mismatch" 403 PermissionDenied "filter and server read different operations in this request";
    PolicyDenied "policy_denied" 403 PermissionDenied "no policy permits the request, or one forbids it";
    PolicyError "policy_error" 403 PermissionDenied "a policy could not be evaluated, so the request is not allowed";
    Canary "canary" 403 PermissionDenied "the canary reached the server, which refuses it always";
    DecisionMissing "decision_missing" 500 Internal "the service answered a request that the server never decided on: the authorization filter is missing or skipped";
    DecisionMismatch "decision_mismatch" 500 Internal "the decision on this response belongs to another request";
    LedgerUnavailable "ledger_unavailable" 503 Unavailable "the decision could not be stored, so it is a refusal";
    Overloaded "overloaded" 503 Unavailable "the server is at its limit of concurrent decisions";
    NotConfigured "not_configured" 503 Unavailable "the filter has no contract to judge by";
    Internal "internal" 500 Internal "a state that cannot be; the request is refused rather than guessed at";
}

impl Reason {
    /// The reason with this code, for readers of logs and replies.
    pub fn from_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use crate::testing::universal_test;
    use std::collections::BTreeSet;

    universal_test! {
        fn codes_are_unique_and_snake_case() {
            let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
            assert_eq!(codes.len(), Reason::ALL.len());
            for code in codes {
                assert!(
                    code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                    "{code}"
                );
            }
        }
    }

    universal_test! {
        fn details_hold_no_space_because_envoy_would_replace_it() {
            for reason in Reason::ALL {
                assert_eq!(reason.details(), format!("palisade_{}", reason.code()));
            }
        }
    }

    universal_test! {
        fn every_code_is_found_again() {
            for reason in Reason::ALL {
                assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            }
            assert_eq!(Reason::from_code("no_such_code"), None);
        }
    }
}
