// Moves and scales the graph that the server drew: by pointer, wheel, buttons and keys. Its nodes are links without it.
"use strict";
(() => {
  const svg = document.querySelector("svg.graph");
  if (!svg) return;
  const whole = svg.viewBox.baseVal;
  const start = [whole.x, whole.y, whole.width, whole.height];
  let view = start.slice();

  function show() {
    svg.setAttribute("viewBox", view.map((number) => Math.round(number * 100) / 100).join(" "));
  }

  // Units of the drawing to a pixel of the screen.
  function scale() {
    const box = svg.getBoundingClientRect();
    return Math.max(view[2] / box.width, view[3] / box.height);
  }

  function zoom(factor, x = view[0] + view[2] / 2, y = view[1] + view[3] / 2) {
    const width = view[2] * factor;
    if (width < start[2] / 40 || width > start[2] * 8) return;
    view = [x + (view[0] - x) * factor, y + (view[1] - y) * factor, width, view[3] * factor];
    show();
  }

  function pan(x, y) {
    view[0] += x;
    view[1] += y;
    show();
  }

  function reset() {
    view = start.slice();
    show();
  }

  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, at.x, at.y);
  }, { passive: false });

  const pointers = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (pointers.size === 0) moved = 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY];
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
    if (others.length) {
      const far = (one, other) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
      zoom(far(last, others[0]) / far(now, others[0]));
    } else if (moved > 4) {
      const unit = scale();
      pan((last[0] - now[0]) * unit, (last[1] - now[1]) * unit);
    }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  // Who moved the graph did not mean the node under the pointer, and does not want to drag its link.
  svg.addEventListener("click", (event) => { if (moved > 4) event.preventDefault(); }, true);
  svg.addEventListener("dragstart", (event) => event.preventDefault());

  // A node that has the focus is to be seen.
  svg.addEventListener("focusin", (event) => {
    const box = event.target.getBBox ? event.target.getBBox() : null;
    if (!box || moved > 4) return;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    if (x < view[0] || x > view[0] + view[2] || y < view[1] || y > view[1] + view[3]) {
      pan(x - view[0] - view[2] / 2, y - view[1] - view[3] / 2);
    }
  });

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = steps[event.key];
    if (step) pan(step[0] * view[2] / 8, step[1] * view[3] / 8);
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.3);
    else if (event.key === "-") zoom(1.3);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
  });

  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      moved = 0;
      const factor = Number(button.dataset.zoom);
      if (factor) zoom(factor);
      else reset();
    });
  }
})();
