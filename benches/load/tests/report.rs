//! What the documentation shows is what its run file says, to the letter.

use std::fs;
use std::path::Path;

use ci_load_bench::render;
use ci_load_bench::run_file::RunFile;

#[test]
fn the_documentation_is_its_run_rendered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let kept = render::kept(&root).expect("docs/runs");
    let [path] = &kept[..] else {
        panic!("docs/runs has one run file, not {}", kept.len());
    };
    let run = RunFile::read(path).expect("a run file");
    let name = path.file_name().expect("a name").to_string_lossy();
    for (file, text) in render::files(&run, &name).expect("rendered") {
        let found = fs::read_to_string(root.join(&file)).unwrap_or_default();
        assert!(
            found == text,
            "{file} is not what {name} renders; run `cargo xtask bench render docs/runs/{name}`"
        );
    }
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let rendered = render::with_table(&readme, &run).expect("the README has its marks");
    assert!(
        readme == rendered,
        "the README's table is not what {name} renders; run `cargo xtask bench render docs/runs/{name}`"
    );
}
