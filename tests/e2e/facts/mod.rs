//! Facts about Envoy that the design stands on, each as a test, so that no upgrade changes one silently.
//!
//! A fact is shown with a probe in the place of our filter and a stand-in for the server, in a configuration that is
//! rendered and then edited (see `stage`); where the answer could be Palisade's, with Palisade itself. Both targets are
//! tried wherever a fact does not name one. INVARIANT: a test says what this Envoy does, also where that is a pity.
//!
//! | Fact | Test |
//! |---|---|
//! | router only, or ext_authz without body: the whole head of a refused write is at the service | `gate::with_the_router_alone_…`, `gate::with_an_ext_authz_without_body_…` |
//! | ext_authz with a partial body, whole bodies, the buffer filter, a held head: nothing | `gate::with_an_ext_authz_with_a_partial_body_…`, `…_with_whole_bodies_…`, `gate::with_the_buffer_filter_…`, `gate::with_the_head_held_…` |
//! | without its field, a pause in the header phase never sees a body | `gate::without_its_field_…` |
//! | the gate holds: chunked, length, HTTP/2, trailers, `Expect`, empty DATA, head only, disconnect, server down, stopped or killed, failure allowed, other body filters | `held::…`, one each |
//! | a limit of a filter behind ours does not hold | `held::a_limit_of_a_filter_behind_ours_…` |
//! | upgrades open the gate; HTTP/2 spells them as extended CONNECT, seen as GET with `upgrade` | `escapes::an_upgrade_with_a_body_…`, `escapes::an_extended_connect_…`, `escapes::an_upgrade_that_the_listener_…` |
//! | streams wait for a byte, or for ever; a route can be freed | `escapes::an_open_grpc_stream_…`, `escapes::a_stream_whose_server_…`, `escapes::a_route_without_…` |
//! | a request that skips ext_authz opens the gate | `metadata::a_request_that_skips_ext_authz_…` |
//! | request headers are out of reach after the header phase | `body_phase::after_a_header_phase_…`, `body_phase::what_the_proxy_knows_…` |
//! | the Check has the first bytes only, and says so | `body_phase::the_check_has_only_…` |
//! | with trailers the body never ends in its callback; trailers without data; zero bytes | `body_phase::with_trailers_…`, `body_phase::trailers_can_come_…`, `body_phase::body_callbacks_…` |
//! | 1 MiB over HTTP/1.1, 16 MiB over HTTP/2 | `body_phase::http1_holds_…`, `body_phase::http2_holds_…` |
//! | the router's retries deliver again without a Check | `body_phase::retries_of_the_router_…` |
//! | no gate on the response path, except with a held head | `response::…` |
//! | the decision is readable on the way back, also of denials, not of errors | `metadata::the_filter_reads_…`, `metadata::without_an_answer_…` |
//! | a header of the filter disables ext_authz; a caller can neither forge nor remove it; the underscore twin | `metadata::a_header_that_the_filter_sets_and_…`, `metadata::a_caller_cannot_…`, `metadata::the_underscore_twin_…` |
//! | what strips it: the reply to the Check, or a second plugin | `metadata::a_header_that_the_reply_…`, `metadata::a_remembered_verdict_…` |
//! | filter state as initial metadata | `metadata::filter_state_reaches_…` |
//! | a CUSTOM policy that does not match means allowed | `metadata::a_custom_policy_…` |
//! | header changes clear the route cache | `metadata::a_header_that_the_filter_sets_clears_…` |
//! | attempts count 1 to 4 under one request id; a caller can claim any | `retries::the_receiver_sees_…`, `retries::a_callers_own_attempt_count_…` |
//! | the expected timeout is stripped, the gRPC timeout kept; who counts as internal | `retries::the_expected_timeout_…`, `retries::an_empty_list_…` |
//! | which refusals end retries | `retries::of_http_refusals_…`, `retries::of_grpc_refusals_…` |
//! | a `grpc-status` of 14 lets plain HTTP be tried again, at another replica; the mark ends it | `replica::a_grpc_status_of_14_…`, `replica::what_a_hot_replica_…` |
//! | HTTP replies to gRPC callers; callers that are nearly gRPC; ours | `retries::an_http_reply_…`, `retries::a_grpc_reply_…`, `retries::our_own_reply_…` |
//! | access logs carry metadata, filter state and details, and are lost silently | `outcomes::…` |
//! | randomness, environment, calls on ticks, shared data; the main thread's VM | `vm::…` |
//! | configurations that are refused, at first and later; updates | `lifecycle::a_first_configuration_…`, `lifecycle::a_later_update_…`, `lifecycle::an_update_leaves_…` |
//! | traps: closed, open, reload, held bodies, shared VMs | `lifecycle::a_trap_…`, `lifecycle::bodies_held_by_…` |
//! | a Check joins duplicates and replaces bytes; raw headers | `view::the_check_joins_…`, `view::raw_headers_…` |
//! | some repeated headers are one for the filter already; what the connection header names is none | `view::some_headers_are_joined_…`, `view::what_the_connection_header_names_…` |
//! | which callbacks come when Envoy or another filter answers first | `view::the_log_callback_…`, `view::a_reply_of_a_filter_before_ours_…`, `view::without_a_route_…` |
//! | two ext_authz of which filter state chooses: what fails, denials, the gate, settings of routes, what is left of a Check | `unreachable::…` |
//! | errors of ext_authz: 403, `status_on_error`, 200 ms | `view::an_error_of_ext_authz_…`, `view::a_check_without_a_timeout_…` |
//! | the principal is the first URI; forged XFCC elements come first | `view::the_principal_…`, `view::a_forged_element_…` |
//! | which paths the filter sees | `view::paths_are_normalised_…` |
//!
//! No tests, and why: what hostcalls, Cedar in wasm and memory of two configurations cost is measured by the benches.
//! Which fields istiod can express, its default timeout and the names that it gives to policies of several providers need
//! an istiod. The tools of package registries are pinned where they are used. That a native test does not link is why
//! the filter's shell has none.

mod ask;
mod authz;
mod body_phase;
mod escapes;
mod gate;
mod h2_client;
mod held;
mod lifecycle;
mod metadata;
mod outcomes;
mod replica;
mod response;
mod retries;
mod stage;
mod unreachable;
mod view;
mod vm;
