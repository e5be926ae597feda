//! `ci-cache top` of a running service, and what is made from the arguments: completions and manual pages.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod program;

use std::process::{Command, Stdio};

use program::{Done, Place, Service};

fn top(place: &Place, address: &str, arguments: &[&str], token: Option<&str>) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ci-cache"));
    command
        .current_dir(place.path("."))
        .args(["top", "--once", "--address", address])
        .args(arguments)
        .env_remove("CI_CACHE_TOKEN")
        .envs(token.map(|token| ("CI_CACHE_TOKEN", token)));
    command.output().expect("it runs").into()
}

#[test]
fn top_shows_what_a_service_did_to_who_has_a_token() {
    let place = Place::filled();
    let create = |name: &str, role: &str| {
        let arguments = [
            "token",
            "create",
            "--tokens",
            "t.json",
            "--all-tenants",
            "--name",
            name,
            "--role",
            role,
        ];
        place.run(&arguments, &[]).out.trim().to_owned()
    };
    let (admin, reader) = (create("admin", "admin"), create("reader", "read"));
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "0",
        "--tokens",
        "t.json",
    ];
    let mut service = Service::start(place.spawn(&arguments));
    let second = service.lines().next().expect("a line");
    let private = second
        .strip_prefix("administration on ")
        .expect("an address")
        .to_owned();
    let bearer = format!("authorization: Bearer {reader}\r\n");
    for _ in 0..3 {
        let answer = service.get_with("/v1/acme/cis?q=order", &bearer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let shown = top(&place, &private, &[], Some(&admin));
    assert_eq!(shown.code, 0, "{}", shown.err);
    let search = shown
        .out
        .lines()
        .find(|line| line.starts_with("search"))
        .expect("a line");
    let words: Vec<&str> = search.split_whitespace().collect();
    assert_eq!((words[1], words[2]), ("2", "1"), "{}", shown.out);
    assert!(
        shown.out.contains("feed live, ") && shown.out.contains("\nacme"),
        "{}",
        shown.out
    );
    assert!(
        !shown.out.contains('\u{1b}'),
        "no terminal, no control characters"
    );
    // By a file, too; and never without, nor with one that may only read, nor at the wrong door.
    place.file("admin.token", &format!("{admin}\n"));
    assert_eq!(
        top(&place, &private, &["--token-file", "admin.token"], None).code,
        0
    );
    let public = format!("http://{}", service.address);
    for (address, arguments, token, told) in [
        (&private, &[][..], None, "(401)"),
        (&private, &[], Some(&*reader), "(403)"),
        (&private, &["--token-file", "none"], None, "read the token"),
        (&public, &[], Some(&*admin), "admin_listen"),
        (&"https://localhost".to_owned(), &[], None, "--ca"),
        (&"localhost:1".to_owned(), &[], None, "--address"),
    ] {
        let refused = top(&place, address, arguments, token);
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains(told), "{}", refused.err);
        assert!(!refused.err.contains(&admin[13..]) && !refused.err.contains(&reader[13..]));
    }
    assert!(service.stop().success());
    let gone = top(&place, &private, &[], Some(&admin));
    assert_eq!(gone.code, 1, "{}", gone.err);
    assert!(gone.err.contains("reach the service"), "{}", gone.err);
}

#[test]
fn top_goes_over_tls_to_whom_it_trusts() {
    let place = Place::filled();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    place.file("cert.pem", &made.cert.pem());
    place.file("key.pem", &made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    place.file("other.pem", &other.cert.pem());
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ];
    let service = Service::start(place.spawn(&arguments));
    let port = service.address.rsplit(':').next().expect("a port");
    let address = format!("https://localhost:{port}");
    let shown = top(&place, &address, &["--ca", "cert.pem"], None);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("QUESTIONS"), "{}", shown.out);
    let refused = top(&place, &address, &["--ca", "other.pem"], None);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("trust the service"), "{}", refused.err);
    assert!(service.stop().success());
}

/// The commands that the help names.
fn commands(place: &Place) -> Vec<String> {
    let help = place.run(&["--help"], &[]).out;
    let (_, rest) = help.split_once("Commands:\n").expect("commands");
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(
        commands.len() > 15 && commands.contains(&"top".to_owned()),
        "{commands:?}"
    );
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.run(&["completions", shell], &[]).out;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    assert_eq!(place.run(&["completions", "command.com"], &[]).code, 2);
    let page = place.run(&["man"], &[]).out;
    assert!(page.contains(".TH ci-cache 1"), "{page}");
    for command in commands.iter().filter(|command| *command != "help") {
        assert!(page.contains(&format!("ci\\-cache\\-{command}(1)")), "{command}");
        let own = place.run(&["man", command], &[]).out;
        assert!(own.contains(&format!(".TH ci-cache-{command} 1")), "{own}");
    }
    let serve = place.run(&["man", "serve"], &[]).out;
    assert!(serve.contains("max\\-entries") && serve.contains("CI_CACHE_MAX_ENTRIES"));
    let token = place.run(&["man", "token", "create"], &[]).out;
    assert!(token.contains(".TH ci-cache-token-create 1"), "{token}");
    let unknown = place.run(&["man", "sell"], &[]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("there are import"), "{}", unknown.err);
}

#[test]
fn bash_completes_commands_and_flags() {
    let place = Place::new();
    let script = place.run(&["completions", "bash"], &[]).out;
    place.file("ci-cache.bash", &script);
    for (words, count, wanted) in [
        ("ci-cache ser", 1, "serve"),
        ("ci-cache serve --max-ent", 2, "--max-entries"),
    ] {
        let ask = format!(
            "source ci-cache.bash; COMP_WORDS=({words}); COMP_CWORD={count}; COMP_LINE='{words}'; COMP_POINT=${{#COMP_LINE}}; \
             complete=$(complete -p ci-cache); complete=${{complete#*-F }}; \
             ${{complete%% *}} ci-cache \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$((COMP_CWORD - 1))]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &ask])
            .current_dir(place.path("."))
            .stdin(Stdio::null());
        let done = Done::from(bash.output().expect("bash"));
        assert_eq!(done.out.trim(), wanted, "{}", done.err);
    }
}
