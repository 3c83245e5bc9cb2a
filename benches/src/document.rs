//! JSON documents of a wanted size that the schema `Batch` of the benches' bundle accepts.

/// A batch of as many lines as fit into that many bytes, and at least one.
pub(crate) fn batch_of(bytes: usize) -> String {
    let mut document = String::from(
        r#"{"id":"5f0c1bd2-7b1e-4c8e-9d37-6a2f0c9b1e11","placed":"2026-11-20T09:30:00Z","warehouse":"lyon","customer":{"email":"ada@shop.example","tier":"silver","credit_cents":25000},"lines":["#,
    );
    for place in 0_usize.. {
        let line = format!(
            r#"{{"sku":"LG-{:06}","item":"a lamp with a l\u00f6ng green cable","quantity":{},"price":{}.75,"gift":false,"note":null,"tags":["lamp","green","new-{}"]}}"#,
            place % 1_000_000,
            place % 999 + 1,
            place % 1_000,
            place % 10,
        );
        if place > 0 && document.len() + line.len() + 3 > bytes {
            break;
        }
        if place > 0 {
            document.push(',');
        }
        document.push_str(&line);
    }
    document.push_str("]}");
    document
}
