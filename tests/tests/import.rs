//! Imports lose no line and no reason, in every format, also when they are cut off.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod writing;

use std::fmt::Write as _;
use std::io::{Cursor, Read, Write as _};
use std::path::{Path, PathBuf};

use ci_model::{Document, TenantId};
use ci_store::Store;
use ci_store::import::{
    ImportError, ImportFormat, ImportObserver, ImportOptions, ImportReport, ImportSource, KEPT_REJECTIONS,
    Progress, RejectedLine, import_cis, import_relations,
};
use ci_tests::fixture::{Fixture, on_both};
use serde_json::json;
use writing::{day, dump, tenant};

fn options() -> ImportOptions {
    ImportOptions::default().at(day(1)).batch_rows(100)
}

fn text(content: impl Into<Vec<u8>>, format: ImportFormat) -> ImportSource {
    ImportSource::reader(Cursor::new(content.into()), format)
}

async fn cis(store: &dyn Store, source: ImportSource) -> Result<ImportReport, ImportError> {
    import_cis(store, &tenant("acme"), source, options(), &mut ()).await
}

/// created, updated, unchanged, superseded, rejected; checked to be all of the lines.
fn counts(report: &ImportReport) -> [u64; 5] {
    let counts = [
        report.created,
        report.updated,
        report.unchanged,
        report.superseded,
        report.rejected_count,
    ];
    assert_eq!(counts.iter().sum::<u64>(), report.lines);
    assert_eq!(report.committed(), report.lines - report.rejected_count);
    counts
}

/// The same estate in both formats.
fn estate(rows: usize) -> (String, String) {
    let mut lines = String::new();
    let mut csv =
        String::from("\u{feff}ci_code,ci_name,ci_type,owner,criticality,tags.site,tags.a.b,attributes\r\n");
    for n in 0..rows {
        let owner = if n.is_multiple_of(3) {
            String::new()
        } else {
            format!("team {n}, \"east\"")
        };
        let attributes = json!({"n": n, "l": [1.5]});
        let row = json!({"ci_code": format!("c-{n}"), "ci_name": format!("name é {n}"), "ci_type": "HW", "owner": owner,
            "criticality": n % 5 + 1, "tags": {"site": "x", "a": {"b": n.to_string()}}, "attributes": attributes});
        writeln!(lines, "{row}").unwrap();
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        writeln!(
            csv,
            "c-{n},name é {n},HW,{},{},x,{n},{}\r",
            quoted(&owner),
            n % 5 + 1,
            quoted(&attributes.to_string())
        )
        .unwrap();
    }
    (lines, csv)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_format_imports_the_same_rows_and_a_second_time_changes_nothing() {
    let (lines, csv) = estate(350);
    let folder = tempfile::tempdir().unwrap();
    let mut dumps = Vec::new();
    for (name, content) in [
        ("a.jsonl", lines.clone().into_bytes()),
        (
            "b.jsonl.gz",
            [gzip(&lines.as_bytes()[..777]), gzip(&lines.as_bytes()[777..])].concat(),
        ),
        ("c.ndjson.zst", zstd::encode_all(lines.as_bytes(), 1).unwrap()),
        ("d.csv", csv.clone().into_bytes()),
        ("e.csv.gz", gzip(csv.as_bytes())),
        // Named plain, compressed all the same.
        ("f.csv", zstd::encode_all(csv.as_bytes(), 1).unwrap()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        on_both(async |fixture| {
            let store = fixture.open().await;
            let file = || ImportSource::file(&path).unwrap();
            assert_eq!(
                counts(&cis(&*store, file()).await.unwrap()),
                [350, 0, 0, 0, 0],
                "{name}"
            );
            let before = dump(fixture).await;
            let later = options().at(day(2)).batch_rows(90);
            let again = import_cis(&*store, &tenant("acme"), file(), later, &mut ())
                .await
                .unwrap();
            assert_eq!(counts(&again), [0, 0, 350, 0, 0], "{name}");
            assert_eq!(dump(fixture).await, before);
            store.close().await;
        })
        .await;
        let sqlite = Fixture::sqlite();
        let store = sqlite.open().await;
        cis(&*store, ImportSource::file(&path).unwrap()).await.unwrap();
        dumps.push(dump(&sqlite).await);
        store.close().await;
    }
    assert!(dumps.windows(2).all(|pair| pair[0] == pair[1]));
}

#[derive(Default)]
struct Listener {
    progress: Vec<Progress>,
    rejected: Vec<RejectedLine>,
}

impl ImportObserver for Listener {
    fn progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn rejected(&mut self, line: &RejectedLine) {
        self.rejected.push(line.clone());
    }
}

fn bad_lines() -> (String, Vec<(u64, &'static str)>) {
    let good = |code: &str| json!({"ci_code": code, "ci_name": "n", "ci_type": "t"}).to_string();
    let deep = format!(
        r#"{{"ci_code":"c","ci_name":"n","ci_type":"t","tags":{}1{}}}"#,
        "[".repeat(9_999),
        "]".repeat(9_999)
    );
    let nested = format!(
        r#"{{"ci_code":"c","ci_name":"n","ci_type":"t","tags":{{"a":{}1{}}}}}"#,
        "[".repeat(60),
        "]".repeat(60)
    );
    let cases = [
        (good("first"), ""),
        (String::new(), ""),
        ("{".into(), "not JSON: EOF while parsing an object at column 1"),
        ("[\"c\",\"n\",\"t\"]".into(), "not a JSON object"),
        ("null".into(), "not a JSON object"),
        (r#"{"ci_code":"c","ci_name":"n"}"#.into(), "ci_type is missing"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","colour":"secret"}"#.into(), "unknown column `colour`; allowed are ci_code, "),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","criticality":"secret"}"#.into(), "criticality: expected a whole number"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","criticality":6}"#.into(), "accept criticality: 6 is outside 1 to 5"),
        (r#"{"ci_code":7,"ci_name":"n","ci_type":"t"}"#.into(), "ci_code: expected a text"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","ci_id":"secret"}"#.into(), "ci_id: expected a UUID"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","created_at":"secret"}"#.into(), "created_at: expected a date and time"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","tags":["secret"]}"#.into(), "tags: expected a JSON object"),
        (r#"{"ci_code":"c","ci_code":"d","ci_name":"n","ci_type":"t"}"#.into(), "a column is given twice"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","tenant_id":"secret"}"#.into(), "accept the value of tenant_id: expected the tenant"),
        (deep, "not JSON: recursion limit exceeded"),
        (nested, "accept tags: 33 is outside 1 to 32"),
        (r#"{"ci_code":"c","ci_name":"n","ci_type":"t","tags":{"a":"\u0000"}}"#.into(), "accept tags: it has a control character"),
        (format!("{{\"ci_code\":\"{}\"}}", "x".repeat(1 << 20)), "longer than 1 MiB"),
        (format!("  {}\r", good("last")), ""),
        (r#"{"ci_code":"first","ci_name":"n","ci_type":"t","ci_id":"0189d7a4-1111-4222-8333-444455556666"}"#.into(), "ci_code belongs to another ci_id"),
    ];
    let mut all = String::new();
    let mut expected = Vec::new();
    for (number, (line, reason)) in (1..).zip(cases) {
        all.push_str(&line);
        all.push('\n');
        if !reason.is_empty() {
            expected.push((number, reason));
        }
    }
    (all, expected)
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_told_by_number_and_reason_and_stop_no_other() {
    let (lines, expected) = bad_lines();
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut listener = Listener::default();
        let mut content = lines.clone().into_bytes();
        content.extend(b"{\"ci_code\":\"\xff\"}");
        let total = content.len() as u64;
        let source = text(content, ImportFormat::JsonLines).with_bytes_total(total);
        // Small batches, so that the code of the last line is known to be taken.
        let options = options().batch_rows(5);
        let report = import_cis(&*store, &tenant("acme"), source, options, &mut listener)
            .await
            .unwrap();
        assert_eq!(counts(&report), [2, 0, 0, 0, expected.len() as u64 + 1]);
        assert_eq!(report.rejected, listener.rejected);
        for (line, (number, reason)) in report.rejected.iter().zip(&expected) {
            assert_eq!(line.line, *number, "{line:?}");
            assert!(line.reason.starts_with(reason), "{line:?} is not {reason}");
            assert!(!line.reason.contains("secret"), "{line:?}");
        }
        assert!(
            report
                .rejected
                .last()
                .unwrap()
                .reason
                .starts_with("not JSON: invalid unicode code point")
        );
        let last = *listener.progress.last().unwrap();
        assert_eq!((last.bytes_read, last.bytes_total), (total, Some(total)));
        assert_eq!(
            (last.lines, last.written, last.rejected),
            (report.lines, 2, report.rejected_count)
        );
        assert!(
            listener
                .progress
                .is_sorted_by_key(|progress| (progress.lines, progress.bytes_read))
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_report_keeps_the_first_rejections_and_a_listener_hears_of_all() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut listener = Listener::default();
    let lines = "{}\n".repeat(KEPT_REJECTIONS + 5);
    let source = text(lines, ImportFormat::JsonLines);
    let report = import_cis(&*store, &tenant("acme"), source, options(), &mut listener)
        .await
        .unwrap();
    assert_eq!(report.rejected.len(), KEPT_REJECTIONS);
    assert_eq!((report.rejected_count, listener.rejected.len()), (1_005, 1_005));
    assert_eq!(listener.rejected.last().unwrap().line, 1_005);
    store.close().await;
}

#[tokio::test]
async fn a_csv_record_knows_its_line_and_a_bad_header_fails_at_once() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let csv = |rows: &str| text(rows, ImportFormat::Csv);
    let rows = "ci_code,ci_name,ci_type,criticality\n\"a\",\"two\nlines\",t,1\nb,n,t\n\nc,n,t,high\nd,n,t,\n,n,t,1\n\"e";
    let report = cis(&*store, csv(rows)).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0, 5]);
    let told: Vec<(u64, &str)> = report
        .rejected
        .iter()
        .map(|line| (line.line, line.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                2,
                "accept ci_name: it has a control character (U+000A); remove it"
            ),
            (4, "3 cells where the header has 4"),
            (6, "criticality: expected a whole number"),
            (8, "ci_code is missing"),
            (9, "a quote is not closed"),
        ]
    );
    for header in [
        "",
        "ci_code,ci_name\n",
        "ci_code;ci_name;ci_type\n",
        "ci_code,ci_name,ci_type,ci_type\n",
    ] {
        let failed = cis(&*store, csv(header)).await.unwrap_err();
        assert!(matches!(failed, ImportError::Header(_)), "{failed:?}");
        assert!(failed.report().is_none() && !failed.is_transient());
    }
    let missing = ImportSource::file(Path::new("there/is/none.csv")).unwrap();
    assert!(matches!(cis(&*store, missing).await, Err(ImportError::Open(_))));
    assert!(matches!(
        ImportSource::file("data.xlsx"),
        Err(ImportError::UnknownFormat)
    ));
    store.close().await;
}

#[tokio::test]
async fn a_cut_file_keeps_what_was_committed_and_running_it_whole_finishes() {
    let (lines, _) = estate(2_000);
    let whole = gzip(lines.as_bytes());
    on_both(async |fixture| {
        let store = fixture.open().await;
        let cut = text(&whole[..whole.len() / 2], ImportFormat::JsonLines);
        let failed = cis(&*store, cut).await.unwrap_err();
        let ImportError::Read { report, .. } = &failed else {
            panic!("{failed:?}")
        };
        let committed = report.committed();
        assert!(committed > 100 && committed < 2_000, "{committed}");
        assert!(
            failed
                .to_string()
                .starts_with(&format!("read the file beyond the {committed} committed lines: "))
        );
        assert_eq!(counts(report), [committed, 0, 0, 0, 0]);
        assert_eq!(dump(fixture).await.len() as u64, committed);
        let report = cis(&*store, text(whole.clone(), ImportFormat::JsonLines))
            .await
            .unwrap();
        assert_eq!(counts(&report), [2_000 - committed, 0, committed, 0, 0]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_with_what_was_committed() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    store.close().await;
    let failed = cis(&*store, text(estate(3).0, ImportFormat::JsonLines))
        .await
        .unwrap_err();
    assert!(
        matches!(&failed, ImportError::Store { report, .. } if report.lines == 0),
        "{failed:?}"
    );
    assert!(failed.is_transient());
}

#[tokio::test]
async fn relations_are_imported_and_those_without_ends_are_told() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        cis(&*store, text(estate(4).0, ImportFormat::JsonLines)).await.unwrap();
        let csv = "from,rel_type,to\nc-0,USES,c-1\nc-0,USES,c-9\nc-9,USES,c-0\nc-1,USES,c-1\nc-0,USES,c-1\n,USES,c-1\nc-2,USES,c-3\n";
        let run = async || {
            let source = text(csv, ImportFormat::Csv);
            import_relations(&*store, &tenant("acme"), source, options(), &mut ()).await.unwrap()
        };
        let report = run().await;
        assert_eq!(counts(&report), [2, 0, 0, 1, 4]);
        let told: Vec<(u64, &str)> = report.rejected.iter().map(|line| (line.line, line.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                (3, "`to` names no CI of this tenant"),
                (4, "`from` names no CI of this tenant"),
                (5, "accept the value of to: expected another CI than `from`"),
                (7, "from is missing"),
            ]
        );
        assert_eq!(counts(&run().await), [0, 0, 2, 1, 4]);
        store.close().await;
    })
    .await;
}

/// The first lines of a compressed file of real data; nothing where the data is not there.
fn real(name: &str, keep: impl Fn(&Document) -> bool, lines: usize) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/debian-main")
        .join(name);
    let mut all = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).ok()?)
        .read_to_string(&mut all)
        .unwrap();
    let kept = all
        .lines()
        .filter(|line| keep(&serde_json::from_str(line).unwrap()))
        .take(lines);
    Some(kept.flat_map(|line| [line, "\n"]).collect())
}

/// A real estate where it is at hand, else a made one of the same size.
fn part_of_a_real_estate() -> (String, String) {
    const ROWS: usize = 5_000;
    let Some(cis) = real("cis.jsonl.gz", |_| true, ROWS) else {
        let mut relations = String::new();
        for n in 1..ROWS {
            writeln!(
                relations,
                r#"{{"from":"c-{n}","to":"c-{}","rel_type":"USES"}}"#,
                n / 2
            )
            .unwrap();
        }
        return (estate(ROWS).0, relations);
    };
    let codes: std::collections::HashSet<String> = cis
        .lines()
        .map(|line| {
            serde_json::from_str::<Document>(line).unwrap()["ci_code"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let within = |line: &Document| {
        ["from", "to"]
            .iter()
            .all(|end| codes.contains(line[*end].as_str().unwrap()))
    };
    let relations = real("relations.jsonl.gz", within, usize::MAX).unwrap();
    (cis, relations)
}

#[tokio::test]
async fn a_real_estate_arrives_whole_in_both_databases() {
    let (lines, relations) = part_of_a_real_estate();
    let whose: TenantId = tenant("debian");
    let mut dumps = Vec::new();
    let (sqlite, postgres) = (Fixture::sqlite(), Fixture::postgres().await);
    for fixture in [&sqlite, &postgres] {
        let store = fixture.open().await;
        let options = options().batch_rows(1_500);
        let source = text(lines.clone(), ImportFormat::JsonLines);
        let report = import_cis(&*store, &whose, source, options, &mut ())
            .await
            .unwrap();
        assert_eq!(counts(&report), [5_000, 0, 0, 0, 0]);
        let source = text(relations.clone(), ImportFormat::JsonLines);
        let report = import_relations(&*store, &whose, source, options, &mut ())
            .await
            .unwrap();
        assert_eq!(counts(&report), [relations.lines().count() as u64, 0, 0, 0, 0]);
        store.close().await;
        dumps.push(dump(fixture).await);
    }
    assert_eq!(dumps[0].len(), 5_000 + relations.lines().count());
    assert!(dumps[0] == dumps[1], "the two databases differ");
    sqlite.finish().await;
    postgres.finish().await;
}

#[tokio::test]
async fn questions_right_after_a_large_import_are_planned_for_it() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut text = String::new();
    for n in 0..10_000 {
        let _ = writeln!(text, r#"{{"ci_code":"c-{n}","ci_name":"n","ci_type":"T"}}"#);
    }
    let source = self::text(text, ImportFormat::JsonLines);
    assert_eq!(cis(store.as_ref(), source).await.unwrap().created, 10_000);
    let counted = fixture
        .texts("SELECT reltuples::int8::text FROM pg_class WHERE oid = 'ci'::regclass")
        .await;
    assert_eq!(counted, ["10000"]);
    store.close().await;
    fixture.finish().await;
}
