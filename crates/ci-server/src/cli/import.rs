//! `ci-cache import`: files into the database, with progress and a report.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ci_model::TenantId;
use ci_store::import::{
    ImportFormat, ImportObserver, ImportOptions, ImportReport, ImportSource, Progress, RejectedLine,
    import_cis, import_relations,
};
use ci_store::{Store, StoreOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::args;
use super::failure::Failure;
use super::output::Output;

/// Rejected lines that are told on stderr; `--rejects` has all.
const TOLD: u64 = 10;

/// What an import of CIs, relations or both did.
#[derive(Serialize)]
struct Reports {
    /// Whether all of it is only what would be done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cis: Option<ImportReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relations: Option<ImportReport>,
}

/// What is imported.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Cis,
    Relations,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Cis => "CIs",
            Self::Relations => "relations",
        }
    }
}

pub(crate) async fn import(arguments: args::Import, output: &mut Output) -> Result<(), Failure> {
    let args::Import {
        common,
        file,
        relations,
        format,
        rejects,
        dry_run,
    } = arguments;
    let tenant = TenantId::new(&common.tenant)?;
    let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
    if is_stdin(&file) && is_stdin(&relations) {
        let text = "read CIs and relations from stdin, which can only be one of them";
        return Err(Failure::Input(text.into()));
    }
    // Sources are made before the database is opened: a misspelt name must not make a database.
    let cis = file.map(|file| Job::new(Kind::Cis, &file, format)).transpose()?;
    let relations = relations
        .map(|file| Job::new(Kind::Relations, &file, format))
        .transpose()?;
    let mut rejects = rejects.map(|path| Rejects::create(&path)).transpose()?;
    // What is only tried makes no database either.
    let options = StoreOptions::default().create_if_missing(!dry_run);
    let store = ci_store::open(&common.database.database, &options).await?;
    let mut reports = Reports {
        dry_run,
        cis: None,
        relations: None,
    };
    let target = Target {
        store: &*store,
        tenant: &tenant,
        dry_run,
        quiet: common.json,
    };
    let result = async {
        if let Some(job) = cis {
            reports.cis = Some(job.run(&target, rejects.as_mut(), output).await?);
        }
        if let Some(job) = relations {
            reports.relations = Some(job.run(&target, rejects.as_mut(), output).await?);
        }
        Ok::<(), Failure>(())
    }
    .await;
    store.close().await;
    if let Some(rejects) = rejects {
        rejects.finish()?;
    }
    result?;
    let all = [reports.cis.as_ref(), reports.relations.as_ref()];
    let (lines, rejected) = all.into_iter().flatten().fold((0, 0), |sum, report| {
        (sum.0 + report.lines, sum.1 + report.rejected_count)
    });
    if common.json {
        output.json(&reports)?;
    }
    if rejected > 0 {
        return Err(Failure::Rejected { rejected, lines });
    }
    Ok(())
}

/// Where files are imported to, and how.
struct Target<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    /// Whether it is only tried.
    dry_run: bool,
    /// Whether the reports are printed later.
    quiet: bool,
}

/// One file to import.
struct Job {
    kind: Kind,
    name: String,
    source: ImportSource,
}

impl Job {
    fn new(kind: Kind, path: &Path, format: Option<ImportFormat>) -> Result<Self, Failure> {
        let (name, source) = if path == Path::new("-") {
            let source = ImportSource::reader(io::stdin(), format.unwrap_or(ImportFormat::JsonLines));
            ("stdin".into(), source)
        } else {
            let name = path.display().to_string();
            // Opened here as well, so that a missing file is told before anything is written.
            File::open(path).map_err(|error| Failure::Input(format!("open {name}: {error}")))?;
            let source = match format {
                Some(format) => ImportSource::file_as(path, format),
                None => ImportSource::file(path)?,
            };
            (name, source)
        };
        Ok(Self { kind, name, source })
    }

    async fn run(
        self,
        to: &Target<'_>,
        rejects: Option<&mut Rejects>,
        output: &mut Output,
    ) -> Result<ImportReport, Failure> {
        let Self { kind, name, source } = self;
        let began = Instant::now();
        let mut watch = Watch::new(kind, &name, rejects);
        let mut options = ImportOptions::default();
        options.dry_run = to.dry_run;
        let result = match kind {
            Kind::Cis => import_cis(to.store, to.tenant, source, options, &mut watch).await,
            Kind::Relations => import_relations(to.store, to.tenant, source, options, &mut watch).await,
        };
        watch.finish()?;
        let report = result?;
        if !to.quiet {
            let seconds = began.elapsed().as_secs_f64();
            let tried = if to.dry_run {
                "nothing is written, but would be: "
            } else {
                ""
            };
            output.line(format_args!(
                "{name}: {} {}: {tried}{} created, {} updated, {} unchanged, {} superseded, {} rejected in {seconds:.1} s",
                report.lines,
                kind.word(),
                report.created,
                report.updated,
                report.unchanged,
                report.superseded,
                report.rejected_count
            ))?;
        }
        Ok(report)
    }
}

/// Shows progress and tells rejected lines.
struct Watch<'a> {
    kind: Kind,
    name: &'a str,
    bar: ProgressBar,
    rejects: Option<&'a mut Rejects>,
    rejected: u64,
    /// The first failure to write the rejects; the import itself goes on.
    failure: Option<io::Error>,
}

impl<'a> Watch<'a> {
    fn new(kind: Kind, name: &'a str, rejects: Option<&'a mut Rejects>) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target).with_message(kind.word());
        Self {
            kind,
            name,
            bar,
            rejects,
            rejected: 0,
            failure: None,
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        if self.rejected > TOLD {
            tell(&format!(
                "{}: {} more lines were rejected\n",
                self.name,
                self.rejected - TOLD
            ));
        }
        self.failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl ImportObserver for Watch<'_> {
    fn progress(&mut self, progress: Progress) {
        if let (Some(total), None) = (progress.bytes_total, self.bar.length()) {
            self.bar.set_length(total);
            // A wrong template would show the default bar instead: it is a constant, tested by being seen.
            if let Ok(style) =
                ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}, {prefix}, {eta} left")
            {
                self.bar.set_style(style);
            }
        }
        self.bar.set_prefix(format!(
            "{} lines, {} rejected",
            progress.lines, progress.rejected
        ));
        self.bar.set_position(progress.bytes_read);
    }

    fn rejected(&mut self, line: &RejectedLine) {
        self.rejected += 1;
        if self.rejected <= TOLD {
            let text = format!("{}:{}: {}\n", self.name, line.line, line.reason);
            self.bar.suspend(|| tell(&text));
        }
        if let Some(rejects) = self.rejects.as_mut()
            && let Err(error) = rejects.write(self.kind, line)
        {
            self.failure.get_or_insert(error);
        }
    }
}

/// Writes to stderr; when it is gone there is nobody to tell.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The file of rejected lines.
struct Rejects(BufWriter<File>);

#[derive(Serialize)]
struct Reject<'a> {
    file: Kind,
    #[serde(flatten)]
    line: &'a RejectedLine,
}

impl Rejects {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path);
        let file = file.map_err(|error| Failure::Input(format!("create {}: {error}", path.display())))?;
        Ok(Self(BufWriter::new(file)))
    }

    fn write(&mut self, file: Kind, line: &RejectedLine) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &Reject { file, line })?;
        self.0.write_all(b"\n")
    }

    fn finish(mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}
