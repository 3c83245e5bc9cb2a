//! What the format accepts, and how it names each mistake.

use super::*;

const GOOD: &str = "\
# About slashes.
case an encoded slash
needs grpc
> GET {read_path}%2f HTTP/1.1
> host: {host}
>
< 400 path_encoded_separator by filter
<istio 400 by envoy
twin
* :method: GET
* :path: {read_path}
+ a
+
- x-sum: 1
< accepted
= GET {read_path} at {service}
=+ x-own: a: {b
=- connection

case in pieces
> POST / HTTP/1.1
~
> content-length: 1
>
~ wait
>> a
~ finish
< accepted
= POST /
";

#[test]
fn a_file_is_read_case_by_case() {
    let cases = parse("f.txt", GOOD).unwrap();
    assert_eq!(cases.len(), 2);
    let case = &cases[0];
    assert_eq!(
        (case.line, case.name.as_str(), case.needs.as_slice()),
        (2, "an encoded slash", ["grpc".to_owned()].as_slice())
    );
    let refusal = |reason, by| Expectation::Refused(Refusal { shape: Shape::Status(400), reason, by });
    let slash = Some(Reason::PathEncodedSeparator);
    assert_eq!(*case.subject.expected_in(Target::Envoy), refusal(slash, Refuser::Filter));
    assert_eq!(*case.subject.expected_in(Target::Istio), refusal(None, Refuser::Envoy));
    let twin = case.twin.as_ref().unwrap();
    let Message::Http2(frames) = &twin.message else { panic!("the twin is HTTP/2") };
    assert_eq!(
        (frames.headers.len(), frames.data.len(), frames.trailers.len(), frames.open),
        (2, 2, 1, false)
    );
    assert!(frames.data[1].is_empty());
    let seen = twin.seen.as_ref().unwrap();
    assert!(seen.service.is_some());
    let value = Template::parse("a: {b").unwrap();
    assert_eq!(seen.headers, [("x-own".to_owned(), Some(value)), ("connection".to_owned(), None)]);
}

#[test]
fn pauses_split_the_request_into_writes() {
    let cases = parse("f.txt", GOOD).unwrap();
    let Message::Http1(writes) = &cases[1].subject.message else { panic!("the case is HTTP/1.1") };
    let shape: Vec<(usize, Then)> = writes.iter().map(|write| (write.lines.len(), write.then)).collect();
    assert_eq!(shape, [(1, Then::Continue), (2, Then::AwaitReaction), (1, Then::Finish)]);
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let check =
        |text: &str, expected: &str| assert_eq!(parse("f.txt", text).unwrap_err(), expected, "{text}");
    let message = "> GET / HTTP/1.1\n>\n";
    check("> GET", "f.txt:1: expected `case NAME` first");
    check("case a\n", "f.txt:1: the message has no lines");
    check(&format!("case a\n{message}"), "f.txt:1: the message has no `<` line");
    check(&format!("case a\n{message}< 400 by envoy"), "f.txt:1: a refusal needs a `twin` that is accepted");
    check(
        &format!("case a\n{message}< 400 by envoy\ntwin\n{message}< 400 by envoy"),
        "f.txt:1: the twin must be `accepted`, in every target",
    );
    check(
        &format!("case a\n{message}< accepted"),
        "f.txt:1: an accepted message needs a `=` line: what the service sees",
    );
    check(
        &format!("case a\n{message}< 400 by envoy\n= GET /\ntwin\n{message}< accepted\n= GET /"),
        "f.txt:1: a refused message has no `=` line: the service sees nothing",
    );
    check(
        &format!("case a\n{message}< accepted\n= GET /\ntwin\n{message}< accepted\n= GET /"),
        "f.txt:1: a case that is accepted needs no twin",
    );
    check(
        "case a\n> GET\n* :path: /\n< accepted\n= GET /",
        "f.txt:1: a message is either HTTP/1.1 (`>`) or HTTP/2 (`*`)",
    );
    check(
        "case a\n? GET",
        "f.txt:2: unknown line `? GET`: expected case, needs, twin, or a line that begins with > >> ~ * + - < = =+ =-",
    );
    check("case a\n< nothing", "f.txt:2: expected `accepted` or `… by envoy|filter|server`, found `nothing`");
    check(
        "case a\n< 400 by nobody",
        "f.txt:2: unknown refuser `nobody`: expected envoy, filter, server or `envoy or filter`",
    );
    check("case a\n< many by envoy", "f.txt:2: expected a status, found `many`");
    check("case a\n< 400 x by filter", "f.txt:2: unknown reason code `x`");
    check("case a\n< 403 json_syntax by filter", "f.txt:2: `json_syntax` has status 400, found 403");
    check("case a\n< closed json_syntax by filter", "f.txt:2: a closed connection has no reason code");
    check("case a\n< 400 json_syntax by envoy", "f.txt:2: a refusal by envoy has no reason code");
    check("case a\n< 400 by filter", "f.txt:2: a refusal by filter or server has a reason code");
    check("case a\n<linkerd 400 by envoy", "f.txt:2: unknown target `linkerd`: expected envoy or istio");
    check("case a\n~ wait", "f.txt:2: a pause needs a line before it");
    check(
        "case a\n> x\n~ sleep",
        "f.txt:3: unknown pause `~ sleep`: expected `~`, `~ wait`, `~ finish` or `~ open`",
    );
    check("case a\n* novalue", "f.txt:2: expected `name: value`, found `novalue`");
    check("case a\n> \\q", "f.txt:2: unknown escape `\\q`: expected r, n, t, 0, \\ or xNN");
    let good = format!("case a\n{message}< accepted\n= GET /\n");
    check(&good.repeat(2), "f.txt:6: the case `a` is there already, at line 1");
}
