// The dashboard, live: panels are replaced as the server draws them, and the curve grows by a point a second.
"use strict";
(() => {
  const KEPT = 600;
  const place = document.getElementById("curve");
  const liveness = document.getElementById("liveness");
  const points = JSON.parse(place.dataset.history);
  let plot = null;

  const columns = () => [0, 2, 1].map((column) => points.map((point) => point[column]));

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function draw() {
    if (plot) plot.destroy();
    const [quiet, line] = [colour("--quiet"), colour("--line")];
    const axis = (more) => ({ stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, ...more });
    const options = {
      width: place.clientWidth,
      height: 220,
      cursor: { drag: { x: false, y: false } },
      scales: { rate: { range: [0, 100] }, requests: { range: (_, least, most) => [0, Math.max(1, most || 0)] } },
      padding: [10, 8, 0, 8],
      axes: [axis({ incrs: [1, 2, 5, 10, 30, 60, 120] }), axis({ scale: "rate", values: (_, ticks) => ticks.map((tick) => tick + " %") }), axis({ scale: "requests", side: 1, grid: { show: false } })],
      series: [
        {},
        { label: "Hit rate", scale: "rate", stroke: colour("--curve"), width: 2, spanGaps: true, value: (_, rate) => (rate == null ? "–" : rate + " %") },
        { label: "Requests a second", scale: "requests", stroke: colour("--bars"), width: 1, value: (_, number) => number ?? "–" },
      ],
    };
    plot = new uPlot(options, columns(), place);
  }

  function update(event) {
    const { point, panels } = JSON.parse(event.data);
    points.push(point);
    if (points.length > KEPT) points.shift();
    plot.setData(columns());
    for (const [id, drawn] of panels) {
      const panel = document.getElementById(id);
      // Escaped by the server, like the page itself.
      if (panel) panel.innerHTML = drawn;
    }
    liveness.textContent = "live";
    document.documentElement.dataset.live = "yes";
    place.dataset.points = points.length;
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 220 })).observe(place);

  // A page that nobody sees takes no place among those who watch.
  let source = null;
  function listen() {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else if (!source) {
      source = new EventSource(place.dataset.live);
      source.onmessage = update;
      source.onerror = () => {
        liveness.textContent = source.readyState === EventSource.CLOSED ? "not live: reload for the present figures" : "connecting again";
      };
    }
  }
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => source && source.close());
  listen();
})();
