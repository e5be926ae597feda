//! The pages in a real browser: they load without a complaint, and do what they are for.

mod chromium;
mod service;

use std::path::Path;

use chromium::{Browser, Page};
use ci_server::access::Role;
use service::{HOSTILE, Served};

/// Every page that a service without tokens shows; the CI with most around it is asked for when the estate is known.
const PAGES: &[&str] = &[
    "/",
    "/explore",
    "/explore/acme",
    "/explore/acme?q=web&ci_type=SW",
    "/explore/acme?q=nothing-has-this-word",
    "/explore/acme?without=owner",
    "/sign-in",
];

/// A CI with a relation, by its code.
async fn related(served: &Served) -> String {
    let answer = served.ask("/v1/acme/cis?limit=1&filter=ci_type%3DSYSTEM").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    body["items"][0]["ci_code"].as_str().expect("a CI").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_loads_without_a_complaint_in_light_and_dark_and_on_a_phone() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    let code = related(&served).await;
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    paths.push(format!("/explore/acme/{code}"));
    for view in ["neighbors", "composition", "dependency", "impact", "summary"] {
        paths.push(format!("/explore/acme/{code}/graph?view={view}"));
    }
    for (width, height, scheme) in [
        (1280, 900, "light"),
        (1280, 900, "dark"),
        (390, 800, "light"),
        (390, 800, "dark"),
    ] {
        let page = browser.page(width, height, scheme).await;
        for path in &paths {
            page.visit(&served.url(path)).await;
            let wide = page.eval("document.documentElement.scrollWidth").await;
            assert!(
                wide.as_u64().is_some_and(|wide| wide <= width.into()),
                "{path} is {wide} wide of {width}"
            );
            page.is_clean();
        }
        let back = page.eval("getComputedStyle(document.body).backgroundColor").await;
        let dark = "rgb(17, 22, 29)";
        assert_eq!(back == dark, scheme == "dark", "{scheme}: {back}");
    }
    served.end().await;
}

/// The detector's own proof: a page that breaks each rule is complained about.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_clean_is_noticed() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    for planted in [
        "setTimeout(() => { throw new Error('planted') })",
        "console.error('planted')",
        "fetch('/explore/acme/absent')",
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">planted</p>')",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'planted'}))",
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://planted.invalid/'}))",
    ] {
        let page = browser.page(800, 600, "light").await;
        page.visit(&served.url("/explore")).await;
        page.is_clean();
        page.eval(&format!("{{ {planted}; true }}")).await;
        while page.complaints().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_as_one_types_leads_to_a_ci_its_graph_and_a_neighbour() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    let code = related(&served).await;
    let page = browser.page(1280, 900, "light").await;
    page.visit(&served.url("/explore/acme")).await;
    // The field has the focus: one can type at once, and nothing is loaded but the results.
    page.eval("window.stayed = true").await;
    let upper = code.to_uppercase();
    page.write(&upper).await;
    page.until(&format!(
        "[...document.querySelectorAll('#results mark')].some(it => it.textContent === {code:?})"
    ))
    .await;
    page.until("new URL(location).searchParams.get('q')").await;
    assert_eq!(page.eval("window.stayed").await, true);
    // A facet narrows it, and can be let go.
    page.eval("document.querySelector('#q').select()").await;
    page.write("e").await;
    page.until("document.querySelectorAll('#results .rows li').length === 25")
        .await;
    let total = "Number(document.querySelector('#total strong').textContent.replaceAll(',', ''))";
    let all = page.eval(total).await.as_u64().expect("a number");
    page.click(".facet a").await;
    page.until("document.querySelectorAll('ul.chips a').length === 1")
        .await;
    let fewer = page.eval(total).await.as_u64().expect("a number");
    assert!(fewer > 0 && fewer < all, "{fewer} of {all}");
    page.click("ul.chips a").await;
    page.until(&format!(
        "document.querySelectorAll('ul.chips a').length === 0 && {total} === {all}"
    ))
    .await;
    let first = "document.querySelector('#results .code').textContent";
    let before = page.eval(first).await;
    page.click("a[rel=next]").await;
    page.until(&format!(
        "location.search.includes('cursor=') && {first} !== {before}"
    ))
    .await;
    // By keyboard alone from here: the CI, its graph, a neighbour in it.
    page.visit(&served.url(&format!("/explore/acme?q={code}"))).await;
    tab_to(&page, "document.activeElement.classList.contains('code')").await;
    page.press("Enter").await;
    page.until(&format!("document.querySelector('h1')?.textContent === {code:?}"))
        .await;
    tab_to(&page, "document.activeElement.textContent === 'Graph'").await;
    page.press("Enter").await;
    page.until("document.querySelectorAll('svg.graph a').length > 1")
        .await;
    let ends = "document.querySelector('svg.graph').getAttribute('viewBox')";
    let whole = page.eval(ends).await;
    tab_to(&page, "document.activeElement.matches('svg.graph')").await;
    for key in ["+", "ArrowRight", "-", "ArrowLeft"] {
        let before = page.eval(ends).await;
        page.press(key).await;
        page.until(&format!("{ends} !== {before}")).await;
    }
    page.press("0").await;
    page.until(&format!("{ends} === {whole}")).await;
    // Who drags the graph by a CI does not go there.
    page.drag("svg.graph a.root", (60.0, 30.0)).await;
    page.until(&format!("{ends} !== {whole}")).await;
    page.click("[data-zoom='0']").await;
    page.until(&format!("{ends} === {whole}")).await;
    assert_eq!(
        page.eval("document.querySelectorAll('svg.graph').length").await,
        1
    );
    page.click("[data-zoom='0.77']").await;
    page.until(&format!("{ends} !== {whole}")).await;
    page.eval("document.querySelector('svg.graph').focus()").await;
    tab_to(&page, "document.activeElement.matches('svg.graph a:not(.root)')").await;
    let label = page
        .eval("document.activeElement.getAttribute('aria-label')")
        .await;
    page.press("Enter").await;
    let neighbour = label
        .as_str()
        .and_then(|label| label.split(", ").next())
        .expect("a label")
        .to_owned();
    page.until(&format!(
        "document.querySelector('h1')?.textContent === 'Graph of ' + {neighbour:?}"
    ))
    .await;
    page.is_clean();
    served.end().await;
}

/// Goes from element to element until the right one has the focus.
async fn tab_to(page: &Page, condition: &str) {
    for _ in 0..200 {
        if page.eval(condition).await == true {
            return;
        }
        page.press("Tab").await;
    }
    panic!("no way by keyboard to: {condition}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_shows_up_in_the_dashboard_by_itself() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    let page = browser.page(1280, 900, "light").await;
    page.visit(&served.url("/")).await;
    page.until("document.documentElement.dataset.live === 'yes'")
        .await;
    page.eval("window.stayed = true").await;
    let hottest = "document.querySelector('#hottest').textContent";
    assert!(
        !page
            .eval(hottest)
            .await
            .as_str()
            .expect("text")
            .contains("live-marker")
    );
    for _ in 0..2 {
        served.ask("/v1/acme/cis?q=live-marker").await;
    }
    page.until(&format!("{hottest}.includes('live-marker')")).await;
    page.until("document.querySelector('#slowest').textContent.includes('search')")
        .await;
    page.until("document.querySelector('#figures').textContent.includes('%')")
        .await;
    page.until("document.querySelector('#curve canvas')").await;
    assert_eq!(page.eval("window.stayed").await, true);
    page.is_clean();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_signs_in_empties_and_warms_the_cache_and_signs_out() {
    let (browser, served) = (Browser::start(), Served::start(true).await);
    let (admin, reader) = (
        served.token(Role::Admin, &[]),
        served.token(Role::Read, &["acme"]),
    );
    let page = browser.page(1280, 900, "dark").await;
    // Whoever has not signed in is asked to, and comes where they wanted to go.
    sign_in(
        &page,
        &served,
        "/explore/acme?q=web",
        &admin,
        "location.pathname === '/explore/acme'",
    )
    .await;
    assert_eq!(page.eval("document.cookie").await, "", "no script can read it");
    page.visit(&served.url("/")).await;
    let entries = "[...document.querySelectorAll('.figure')].find(it => it.querySelector('dt').textContent === 'Entries')\
                   .querySelector('dd').firstChild.textContent";
    page.until(&format!("Number({entries}) > 0")).await;
    let before = page.complaints();
    page.click("#clear").await;
    page.until("document.querySelector('#done .good')").await;
    page.until(&format!("{entries} === '0'")).await;
    assert_eq!(browser.dialogs(), ["Forget every cached answer of every tenant?"]);
    // What was hot is asked again.
    page.click("form[action$='/control/warm'] button").await;
    page.until(&format!(
        "document.querySelector('#done').textContent.includes('answered again') && Number({entries}) > 0"
    ))
    .await;
    page.eval("document.querySelector('[name=tenant]').value = 'acme'")
        .await;
    page.click("form[action$='/control/invalidate'] button").await;
    page.until(&format!(
        "document.querySelector('#done').textContent.includes('forgotten') && {entries} === '0'"
    ))
    .await;
    assert_eq!(page.complaints(), before);
    page.click(".who button").await;
    page.until("location.pathname === '/sign-in'").await;
    page.visit(&served.url("/")).await;
    page.until("location.pathname === '/sign-in'").await;
    assert_eq!(page.complaints(), before);
    // One who may read a tenant sees that, and neither another nor the dashboard.
    let page = browser.page(1280, 900, "light").await;
    sign_in(
        &page,
        &served,
        "/explore",
        &reader,
        "location.pathname === '/explore'",
    )
    .await;
    page.until("!document.querySelector('nav a[href=\"/\"]')").await;
    page.click("ul.chips a").await;
    page.until("document.querySelectorAll('#results .rows li').length === 25")
        .await;
    for path in [
        "/",
        "/explore/other",
        "/explore/other/secret",
        "/explore/other/absent",
    ] {
        page.visit(&served.url(path)).await;
        let said = page.eval("document.querySelector('main').innerText").await;
        let said = said.as_str().expect("text");
        assert!(
            said.contains("The token does not allow this") && !said.contains("secret"),
            "{path}: {said}"
        );
    }
    served.end().await;
}

/// Signs in on the way to a page, again for as long as the service has not heard of the token.
async fn sign_in(page: &Page, served: &Served, path: &str, token: &str, arrived: &str) {
    page.visit(&served.url(path)).await;
    assert_eq!(page.eval("location.pathname").await, "/sign-in");
    loop {
        page.eval("window.left = true").await;
        page.eval("document.querySelector('#token').focus()").await;
        page.write(token).await;
        page.press("Enter").await;
        page.until("!window.left && document.readyState === 'complete'")
            .await;
        if page.eval(arrived).await == true {
            return;
        }
        assert_eq!(page.eval("document.querySelectorAll('#wrong').length").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_row_holds_is_shown_as_text() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    let page = browser.page(390, 800, "light").await;
    let mut paths = vec![
        "/explore/acme?q=hostile".to_owned(),
        "/explore/acme?q=%3Cscript%3E".into(),
    ];
    for (code, _) in HOSTILE.iter().filter(|(code, _)| *code != "..") {
        let code = code
            .bytes()
            .fold(String::new(), |code, byte| format!("{code}%{byte:02X}"));
        paths.extend([
            format!("/explore/acme/{code}"),
            format!("/explore/acme/{code}/graph"),
        ]);
    }
    paths.extend([
        "/explore/acme/hostile-long".into(),
        "/explore/acme/hostile-long/graph".into(),
    ]);
    for path in &paths {
        page.visit(&served.url(path)).await;
        page.is_clean();
        let brought = page
            .eval("document.querySelectorAll('main script, main img, main b, main i, main [onload]').length")
            .await;
        assert_eq!(brought, 0, "{path}");
        assert_ne!(page.eval("document.title").await, "owned", "{path}");
        let wide = page.eval("document.documentElement.scrollWidth").await;
        assert!(
            wide.as_u64().is_some_and(|wide| wide <= 390),
            "{path} is {wide} wide"
        );
    }
    // Its link goes by its id, since a browser takes the code for a way to go.
    page.visit(&served.url("/explore/acme?q=a+code+that+is+a+way+up"))
        .await;
    page.click("#results .code").await;
    page.until("document.querySelector('h1')?.textContent === '..'")
        .await;
    page.is_clean();
    served.end().await;
}

/// Pictures for the documentation, with `CI_CACHE_REGENERATE=1`; without, only that they can be taken and are small.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_small() {
    let (browser, served) = (Browser::start(), Served::start(false).await);
    let code = related(&served).await;
    let is_wanted = std::env::var_os("CI_CACHE_REGENERATE").is_some();
    served.ask(&format!("/v1/acme/cis/{code}/page")).await;
    for (name, path, width, height, scheme) in [
        ("dashboard", "/".to_owned(), 1280, 1480, "light"),
        (
            "explorer",
            "/explore/acme?q=ashburn&ci_type=HW".into(),
            1280,
            800,
            "dark",
        ),
        (
            "graph",
            format!("/explore/acme/{code}/graph?view=neighbors&depth=2"),
            1280,
            900,
            "light",
        ),
        ("phone", format!("/explore/acme/{code}"), 390, 800, "light"),
    ] {
        let page = browser.page(width, height, scheme).await;
        page.visit(&served.url(&path)).await;
        if name == "dashboard" {
            watch(&page, &served, if is_wanted { 12 } else { 2 }).await;
        }
        let picture = page.picture().await;
        assert!(picture.len() < 150_000, "{name}: {} bytes", picture.len());
        if is_wanted {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(format!("{name}.webp")), picture).expect("written");
        }
    }
    served.end().await;
}

/// Asks questions while the dashboard shows it, until its curve has so many points.
async fn watch(page: &Page, served: &Served, points: usize) {
    let words = ["web", "db", "erp", "mail", "ashburn", "switch", "vm"];
    for point in 1..=points {
        for word in words.iter().cycle().take(20 + 13 * (point % 4)) {
            served
                .ask(&format!("/v1/acme/cis?q={word}&limit={}", 10 + point / 4))
                .await;
        }
        // A change that drops some of it.
        let body = format!(r#"{{"ci_name": "web shop {point}", "ci_type": "SW"}}"#);
        let written = served.send("PUT", "/v1/acme/cis/web-shop-new", &body).await;
        assert!(written.starts_with("HTTP/1.1 20"), "{written}");
        page.until(&format!(
            "Number(document.querySelector('#curve').dataset.points) > {point}"
        ))
        .await;
    }
}
