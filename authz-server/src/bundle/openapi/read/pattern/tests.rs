//! What patterns mean here, and which are refused.

use super::compile;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

fn matches(pattern: &str, text: &str) -> bool {
    let compiled = compile(pattern).unwrap_or_else(|refused| panic!("{pattern}: {refused:?}"));
    let vm = PikeVM::builder().syntax(syntax::Config::new().utf8(false)).build(&compiled.translated).unwrap();
    vm.is_match(&mut vm.create_cache(), text)
}

#[test]
fn patterns_mean_what_ecma_262_says() {
    let check = |pattern: &str, yes: &[&str], no: &[&str]| {
        for text in yes {
            assert!(matches(pattern, text), "{pattern} matches {text:?}");
        }
        for text in no {
            assert!(!matches(pattern, text), "{pattern} does not match {text:?}");
        }
    };
    check("b", &["abc"], &["ac"]);
    check(r"^\d+$", &["42"], &["٤٢", "42\n", ""]);
    check(r"^\w$", &["a", "_"], &["ä"]);
    check(r"^\s$", &["\u{feff}", "\u{a0}", " "], &["\u{85}"]);
    check(r"^.$", &["ä", "\u{85}"], &["\n", "\u{2028}"]);
    check(r"^[[]$", &["["], &["]"]);
    check(r"^[a&&b]$", &["a", "&", "b"], &["c"]);
    check(r"^[\w-.]$", &["-", ".", "x"], &["/"]);
    check(r"^[a\-z]$", &["-", "a", "z"], &["b"]);
    check(r"^[^]$", &["\n"], &[""]);
    // Every mark is itself in a class.
    check(r"^[^<>]$", &["a", "/"], &["<", ">"]);
    check(r##"^[!"#$%&'()*+,\-./:;<=>?@^_`{|}~[]$"##, &["<", ">", "&", "~", "[", "-"], &["a", "\\"]);
    check(r"^{a}$", &["{a}"], &["a"]);
    check(r"^a{2,3}$", &["aa", "aaa"], &["a", "a{2,3}"]);
    check(r"^\/\-\ $", &["/- "], &[]);
    check(r"^\u0041\x42\u{43}\uD83D\uDE00$", &["ABC\u{1f600}"], &[]);
    check(r"^\cA[\b]\0$", &["\u{1}\u{8}\0"], &[]);
    check(r"\bcat\b", &["a cat"], &["concat", "catfish"]);
    check(r"^(?<year>[0-9]{4})-(?:a|b)$", &["2020-a"], &["2020-c"]);
    check(r"^(?i)ok$", &["OK"], &["k"]);
    check(r"^\p{L}+$", &["äß"], &["1"]);
    check("^[\u{e4}-\u{fc}]$", &["ö"], &["a"]);
    check(r"^#x y$", &["#x y"], &[]);
    check(r"^a]b}$", &["a]b}"], &[]);
    check(r"^(?:\p{L}|\p{N}){1,100}$", &["ä1"], &["-"]);
}

#[test]
fn what_has_no_bounded_automaton_or_two_meanings_is_refused() {
    let check = |pattern: &str, why: &str| match compile(pattern) {
        Ok(pattern) => panic!("{pattern:?}"),
        Err(refused) => assert!(refused.why.contains(why), "{pattern}: {}", refused.why),
    };
    for pattern in ["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "^(?!.*x)"] {
        check(pattern, "looks around");
    }
    for pattern in [r"(a)\1", r"(?<x>a)\k<x>"] {
        check(pattern, "refers back");
    }
    for pattern in ["*a", "a**", "a*+", "^*", "(*)", "a{2}{3}", "|+"] {
        check(pattern, "nothing stands that could be repeated");
    }
    check(r"\Aabc\z", "no escape of ECMA-262");
    check("[[:alpha:]]", "in the manner of POSIX");
    check("a{,5}", "some engines");
    check("(?>a)", "a kind of group");
    check("(?P<x>a)", "a kind of group");
    check("/^a$/", "begins with a slash");
    check("(", "cannot be read");
    check("[a", "never closed");
    check("[z-a]", "empty");
    check("[]", "empty class");
    check("a\\", "ends in a backslash");
    check(r"\p{Nonsense}", "cannot be read");
    check(r"\u{110000}", "no character");
    check("(?:(?:a{1000}){1000}){1000}", "automaton of more than");
    check(&"(".repeat(500), "cannot be read");
}
