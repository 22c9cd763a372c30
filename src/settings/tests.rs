use std::{collections::BTreeMap, fmt::Debug, net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{
    ByteSize, Leaf, Section, extent, layers,
    testing::{Dir, read},
};

/// One setting as the file has it: its value, or the problem with it.
fn from_file<T: Leaf>(value: &str) -> Result<T, String> {
    single(read(&format!("key: {value}"), &[], |s| s.required("key")))
}

/// One setting as the environment has it.
fn from_variable<T: Leaf>(value: &str) -> Result<T, String> {
    single(read("{}", &[("SWITCHBOARD__KEY", value)], |s| {
        s.required("key")
    }))
}

fn single<T>((value, problems): (Option<T>, Vec<String>)) -> Result<T, String> {
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems.join("\n")),
    }
}

fn refuses<T: Leaf + Debug>(result: Result<T, String>, part: &str) {
    let problem = result.unwrap_err();
    assert!(
        problem.starts_with("key: ") && problem.contains(part),
        "{problem:?} lacks {part:?}"
    );
    assert_eq!(problem.lines().count(), 1, "{problem}");
}

#[test]
fn the_file_is_taken_at_its_word() {
    assert_eq!(from_file("true"), Ok(true));
    assert_eq!(from_file("4096"), Ok(4096_u32));
    assert_eq!(from_file("\"4096\""), Ok("4096".to_owned()));
    assert_eq!(from_file("10s"), Ok(Duration::from_secs(10)));
    assert_eq!(from_file("0"), Ok(Duration::ZERO));
    assert_eq!(from_file("4MiB"), Ok(ByteSize(4 << 20)));
    assert_eq!(from_file("4096"), Ok(ByteSize(4096)));
    assert_eq!(
        from_file("127.0.0.1:1"),
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    );
    assert_eq!(from_file("/a/b"), Ok(PathBuf::from("/a/b")));
    assert_eq!(
        from_file("https://a.b/c"),
        Ok(Url::parse("https://a.b/c").unwrap())
    );
    assert_eq!(
        from_file("[a, \"1\"]"),
        Ok(vec!["a".to_owned(), "1".to_owned()])
    );
}

#[test]
fn wrong_types_in_the_file_are_refused() {
    refuses(
        from_file::<bool>("\"true\""),
        "expected true or false, found the text \"true\"",
    );
    refuses(from_file::<bool>("yes"), "expected true or false");
    refuses(from_file::<bool>("1"), "found `1`");
    refuses(
        from_file::<u32>("\"5\""),
        "expected a whole number, found the text \"5\"",
    );
    refuses(from_file::<u32>("5.0"), "expected a whole number");
    refuses(
        from_file::<u32>("-5"),
        "expected a whole number, found `-5`",
    );
    refuses(from_file::<u16>("65536"), "expected a whole number");
    refuses(from_file::<u32>("[1]"), "found a list");
    refuses(from_file::<String>("12345"), "found a number: quote it");
    refuses(from_file::<String>("1.5"), "found a number: quote it");
    refuses(from_file::<String>("true"), "found a boolean: quote it");
    refuses(from_file::<String>("{a: b}"), "found a mapping");
    refuses(from_file::<Duration>("10"), "a duration such as 500ms");
    refuses(from_file::<Duration>("-1s"), "a duration such as 500ms");
    refuses(from_file::<ByteSize>("4MB"), "a size such as 4MiB");
    refuses(from_file::<ByteSize>("-4"), "a size such as 4MiB");
    refuses(
        from_file::<SocketAddr>("50051"),
        "an address such as 127.0.0.1:50051",
    );
    refuses(
        from_file::<SocketAddr>("localhost:1"),
        "an address such as 127.0.0.1:50051",
    );
    refuses(
        from_file::<Url>("a.b"),
        "a URL such as https://vendor.example.com",
    );
    refuses(from_file::<PathBuf>("\"\""), "found empty text");
    refuses(from_file::<PathBuf>("12345"), "found a number: quote it");
    refuses(from_file::<Vec<String>>("a"), "expected a list of texts");
    refuses(
        from_file::<Vec<String>>("[a, 1]"),
        "[1]: expected text, found a number",
    );
}

#[test]
fn a_variable_is_read_as_what_its_key_wants() {
    let list = |items: &[&str]| Ok(items.iter().map(|it| (*it).to_owned()).collect());
    assert_eq!(from_variable("TRUE"), Ok(true));
    assert_eq!(from_variable("4096"), Ok(4096_usize));
    assert_eq!(from_variable("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(from_variable("4096"), Ok(ByteSize(4096)));
    for text in ["12345", "true", "007", "1e3", "null", "[a]", "a,b", " a "] {
        assert_eq!(from_variable(text), Ok(text.to_owned()));
        assert_eq!(from_variable(text), Ok(PathBuf::from(text)));
    }
    assert_eq!(
        from_variable::<Vec<String>>("/a/*, /b"),
        list(&["/a/*", "/b"])
    );
    assert_eq!(from_variable::<Vec<String>>("/a"), list(&["/a"]));
    assert_eq!(
        from_variable::<Vec<String>>("[\"/a,b\", \"/c\"]"),
        list(&["/a,b", "/c"])
    );
    refuses(
        from_variable::<Vec<String>>("[1]"),
        "or a JSON array of strings",
    );
    refuses(
        from_variable::<u32>("many"),
        "found the text \"many\" (from SWITCHBOARD__KEY)",
    );
    let within = |s: &mut Section<'_>| Some(s.within("key", 5_u32, 1..=10));
    refuses(
        single(read("key: 5", &[("SWITCHBOARD__KEY", "11")], within)),
        "expected 1 to 10, found 11 (from SWITCHBOARD__KEY)",
    );
    let item = |s: &mut Section<'_>| {
        let items = s.or::<Vec<String>>("key", Vec::new());
        s.check("key[1]", false, || "not this one");
        Some(items)
    };
    let items = read("{}", &[("SWITCHBOARD__KEY", "a,b")], item);
    assert_eq!(
        single(items),
        Err("key[1]: not this one (from SWITCHBOARD__KEY)".to_owned())
    );
    refuses(from_variable::<bool>("1"), "expected true or false");
    refuses(from_variable::<u32>("1.0"), "expected a whole number");
}

#[test]
fn null_and_an_empty_variable_are_absent() {
    for (text, variables) in [
        ("{}", &[][..]),
        ("key: null", &[]),
        ("key:", &[]),
        ("key: ~", &[]),
        ("key: 5", &[("SWITCHBOARD__KEY", "")]),
    ] {
        assert_eq!(read(text, variables, |s| s.or("key", 7_u32)), (7, vec![]));
        assert_eq!(
            read(text, variables, |s| s.optional::<u32>("key")),
            (None, vec![])
        );
        let (_, problems) = read(text, variables, |s| s.required::<u32>("key"));
        // The file has it, and what takes it away is to be found.
        let from = variables.first().map_or("", |_| " (from SWITCHBOARD__KEY)");
        assert_eq!(problems, [format!("key: required, but missing{from}")]);
    }
}

fn nested(root: &mut Section<'_>) -> (String, BTreeMap<String, String>) {
    root.section("server", |server| {
        let listen = server.or("listen", "default".to_owned());
        (
            listen,
            server.map("accounts", |_, one| one.required("username")),
        )
    })
}

#[test]
fn variables_win_over_the_file_at_any_depth() {
    let text =
        "server: {listen: file, accounts: {default: {username: file}, Sales.EU: {username: file}}}";
    let variables = [
        ("SWITCHBOARD__SERVER__LISTEN", "env"),
        ("SWITCHBOARD__SERVER__ACCOUNTS__SALES.EU__USERNAME", "12345"),
        ("SWITCHBOARD__SERVER__ACCOUNTS__NEW_ONE__USERNAME", "true"),
        ("SWITCHBOARD_CONFIG", "/no/key"),
        ("SWITCHBOARD_SERVICE_HOST", "10.0.0.1"),
        ("SWITCHBOARD", "no key"),
        ("OTHER__SERVER__LISTEN", "other"),
    ];
    let ((listen, accounts), problems) = read(text, &variables, nested);
    assert_eq!((listen.as_str(), problems), ("env", vec![]));
    let accounts: Vec<(&str, &str)> = accounts.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        accounts,
        [
            ("Sales.EU", "12345"),
            ("default", "file"),
            ("new_one", "true")
        ]
    );
}

#[test]
fn a_variable_alone_makes_its_section() {
    let ((listen, _), problems) = read("{}", &[("SWITCHBOARD__SERVER__LISTEN", "env")], nested);
    assert_eq!((listen.as_str(), problems), ("env", vec![]));
    for file in ["{}", "server: null"] {
        let (there, _) = read(file, &[("SWITCHBOARD__SERVER__LISTEN", "")], |root| {
            root.optional_section("server", |_| ()).is_some()
        });
        assert!(!there, "an empty variable has made a section of {file}");
    }
    let empty = [("SWITCHBOARD__SERVER__ACCOUNTS__NEW__USERNAME", "")];
    let ((_, accounts), problems) = read("server: {accounts: {}}", &empty, nested);
    assert_eq!((accounts.len(), problems), (0, vec![]));
}

#[test]
fn variables_that_fit_nowhere_are_refused() {
    let file = "server: {listen: file, accounts: {One: {username: a}, oNe: {username: b}}}";
    for (name, problem) in [
        ("SWITCHBOARD__", "names no setting"),
        ("SWITCHBOARD__SERVER__", "names no setting"),
        ("SWITCHBOARD__SERVER____LISTEN", "names no setting"),
        (
            "SWITCHBOARD__SERVER",
            "`server` is a section: set its keys one by one",
        ),
        (
            "SWITCHBOARD__SERVER__LISTEN__PORT",
            "`listen` is not a section",
        ),
        (
            "SWITCHBOARD__SERVER__ACCOUNTS__ONE__USERNAME",
            "`one` could be several keys",
        ),
    ] {
        let ((listen, _), problems) = read(file, &[(name, "hunter2")], nested);
        assert_eq!(listen, "file");
        assert!(
            problems[0].starts_with(&format!("{name}: {problem}")),
            "{problems:?}"
        );
        assert!(!problems.concat().contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn unknown_keys_are_refused_without_their_values() {
    let known = |s: &mut Section<'_>| {
        s.optional::<PathBuf>("password_file");
        s.optional::<u32>("max_in_flight");
        s.optional::<String>("path");
    };
    for (text, problem) in [
        (
            "password: hunter2",
            "password: unknown key; secrets are never written here: name a file with `password_file`",
        ),
        (
            "max_inflight: hunter2",
            "max_inflight: unknown key; did you mean `max_in_flight`?",
        ),
        (
            "pth: {hunter2: 1}",
            "pth: unknown key; did you mean `path`?",
        ),
        ("other: [hunter2]", "other: unknown key"),
        ("null_too: null", "null_too: unknown key"),
        ("server.listen: hunter2", "server.listen: unknown key"),
        ("\"a\\nb\": 1", "a\u{fffd}b: unknown key"),
        ("a[0]: hunter2", "a[0]: unknown key"),
    ] {
        assert_eq!(read(text, &[], known).1, [problem]);
    }
    let (_, problems) = read("{}", &[("SWITCHBOARD__PATCH", "hunter2")], known);
    assert_eq!(
        problems,
        ["patch: unknown key; did you mean `path`? (from SWITCHBOARD__PATCH)"]
    );
}

#[test]
fn every_problem_of_a_section_is_reported_and_nothing_that_follows_from_it() {
    let text = "{server: {listen: 5, typo: 1, accounts: {b: hunter2, a: {username: 1}}}, other: 1}";
    let (_, problems) = read(text, &[], nested);
    let expected = [
        "server.listen: expected text, found a number: quote it",
        "server.accounts.a.username: expected text, found a number: quote it",
        "server.accounts.b: expected a mapping",
        "server.typo: unknown key",
        "other: unknown key",
    ];
    assert_eq!(problems, expected);
    assert_eq!(
        read("server: [hunter2]", &[], nested).1,
        ["server: expected a mapping"]
    );
}

#[test]
fn a_key_with_a_problem_is_checked_no_further() {
    let limits = |s: &mut Section<'_>| {
        let (low, high) = (s.or("low", 9_u32), s.within("high", 5, 1..=10_u32));
        s.check_pair("low", "high", low <= high, || "too high");
        s.check("low", low != 8, || "not 8");
    };
    for (text, expected) in [
        ("low: 5", &[][..]),
        ("{}", &["low: too high"]),
        ("low: 8", &["low: too high"]),
        (
            "{low: x}",
            &["low: expected a whole number, found the text \"x\""],
        ),
        (
            "{high: x}",
            &["high: expected a whole number, found the text \"x\""],
        ),
        ("{high: 11}", &["high: expected 1 to 10, found 11"]),
    ] {
        assert_eq!(read(text, &[], limits).1, expected, "{text}");
    }
}

#[test]
fn one_of_a_few_words() {
    let choices = [("text", 1), ("json", 2)];
    let format = |text: &str| read(text, &[], |s| s.one_of("format", 0, &choices));
    assert_eq!(format("format: json"), (2, vec![]));
    assert_eq!(format("{}"), (0, vec![]));
    let problem = "format: expected one of text, json, found the text \"xml\"";
    assert_eq!(format("format: xml"), (0, vec![problem.to_owned()]));
    assert_eq!(format("format: {a: b}").1.len(), 1);
}

#[test]
fn a_list_of_mappings_is_read_one_by_one_also_from_a_variable() {
    let list = |text: &str, variables: &[(&str, &str)]| {
        read(text, variables, |s| {
            s.list("rules", |s| s.required::<u32>("a"))
        })
    };
    let (found, problems) = list("rules: [{a: 1}, {b: 2}, 3]", &[]);
    assert_eq!(found, Some(vec![Some(1), None, None]));
    assert_eq!(
        problems,
        [
            "rules[1].a: required, but missing",
            "rules[1].b: unknown key",
            "rules[2]: expected a mapping",
        ]
    );
    let variable = [("SWITCHBOARD__RULES", r#"[{"a": 7}]"#)];
    assert_eq!(list("", &variable), (Some(vec![Some(7)]), vec![]));
    assert_eq!(list("rules: null", &[]), (None, vec![]));
    assert_eq!(
        list("rules: x", &[]).1,
        ["rules: expected a list of mappings"]
    );
    let broken = [("SWITCHBOARD__RULES", "[{")];
    assert_eq!(
        list("", &broken).1,
        ["rules: expected a list of mappings (from SWITCHBOARD__RULES)"]
    );
}

#[test]
fn a_file_that_cannot_be_used_is_one_problem_that_names_it() {
    let dir = Dir::new();
    for (contents, part) in [
        (&b"a: [1, 2\nb: 3\n"[..], "not YAML: line 2"),
        (
            b"a: 1\nb:\n  hunter2: 1\n  hunter2: 2\n",
            "not YAML: line 4, column 12: a key for the second time",
        ),
        (" ".repeat((1 << 20) + 1).as_bytes(), "is longer than 1 MiB"),
        (b"a: \xff", "is not UTF-8 text"),
        (b"hunter2", "expected a mapping of settings"),
        (b"- hunter2", "expected a mapping of settings"),
        (b"---\nnull", "expected a mapping of settings"),
        (b"a: 1\n---\nb: 2", "expected one YAML document"),
        (b"a: .inf", "its numbers finite"),
        (b"{[hunter2]: 1}", "its keys text"),
    ] {
        let path = dir.write("config.yaml", contents);
        let problem = layers::file(&path).unwrap_err();
        assert_eq!(problem.path, path.display().to_string());
        assert!(problem.message.contains(part), "{problem} lacks {part:?}");
        assert!(!problem.message.contains("hunter2"), "{problem}");
    }
    let missing = layers::file(&dir.path("none.yaml")).unwrap_err();
    assert!(missing.message.starts_with("cannot be read: "), "{missing}");
    assert!(layers::file(&dir.path("")).is_err());
}

#[test]
fn nesting_has_a_limit_by_itself_and_by_aliases() {
    let nested = |levels: usize| format!("a: {}1{}", "[".repeat(levels), "]".repeat(levels));
    let block = |levels: usize| format!("a:\n  {}1", "- ".repeat(levels));
    let aliases = |levels: usize| {
        let line = |it: usize| format!("a{it}: &a{it} [*a{}]\n", it - 1);
        "a0: &a0 1\n".to_owned() + &(1..=levels).map(line).collect::<String>()
    };
    let within = extent::DEEPEST - 1;
    for text in [nested(within), block(within), aliases(within)] {
        assert_eq!(layers::parse(&text).err(), None, "{text}");
    }
    let beyond = [nested(within + 1), block(within + 1), aliases(within + 1)];
    for text in beyond.into_iter().chain([block(300_000), aliases(3_000)]) {
        let problem = layers::parse(&text).unwrap_err();
        assert_eq!(problem, "is nested more than 32 levels deep");
    }
}

/// Ten to the ninth values, and gigabytes of text.
#[test]
fn aliases_make_no_more_of_a_file_than_a_file_may_have() {
    let ten = |it: usize| {
        format!(
            "a{}: &a{} [{}]\n",
            it + 1,
            it + 1,
            format!("*a{it},").repeat(10)
        )
    };
    let values = "a0: &a0 1\n".to_owned() + &(0..9).map(ten).collect::<String>();
    let text = format!(
        "a: &a {}\nb: [{}]",
        "x".repeat(500_000),
        "*a,".repeat(100_000)
    );
    let keys = values.clone() + "? *a9\n: 1\n";
    let anchors = format!(
        "a: {}{}{}",
        "&a [".repeat(20),
        "x,".repeat(100_000),
        "]".repeat(20)
    );
    for text in [values, text, keys, anchors] {
        let problem = layers::parse(&text).unwrap_err();
        assert_eq!(problem, "is longer than 2 MiB with its aliases written out");
    }
    // Without them one of the greatest size is fine, also of what is shortest for what it is.
    let dense = format!("a: [{}]", ":,".repeat((1 << 19) - 3));
    assert_eq!(extent::check(&dense), Ok(()));
    let shared = "a: &a {b: 1}\nc: *a\nd: [*a, *a]";
    assert_eq!(layers::parse(shared).unwrap().len(), 3);
}

#[test]
fn an_empty_file_and_a_byte_order_mark_are_fine() {
    let dir = Dir::new();
    assert!(
        layers::file(&dir.write("empty", "# nothing\n"))
            .unwrap()
            .is_empty()
    );
    assert!(
        layers::file(&dir.write("bom", "\u{feff}a: 1\n"))
            .unwrap()
            .contains_key("a")
    );
}
