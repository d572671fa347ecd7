// Two Gaussians to drag, and how far each is from the other.
Live.figures["gaussian-divergence"] = (body) => {
  const { html, svg, slider, button, axes, key, place } = Live;
  const x = Array.from({ length: 401 }, (_, i) => -6 + (12 * i) / 400);
  const density = (m, s) => x.map((v) => Math.exp(-0.5 * ((v - m) / s) ** 2) / (s * Math.sqrt(2 * Math.PI)));
  const divergence = (m1, s1, m2, s2) => Math.log(s2 / s1) + (s1 ** 2 + (m1 - m2) ** 2) / (2 * s2 ** 2) - 0.5;
  const chart = axes({ height: 280, x: [-6, 6], y: [0, 1], xlabel: "x", ylabel: "density" });
  const readout = html("p", { class: "live-readout" });
  const one = (name, kind, m, s) => ({
    curve: chart.curve(kind),
    handle: chart.inside.appendChild(svg("circle", { r: 8, class: `live-handle ${kind}` })),
    m: slider({ label: `mean of ${name}`, min: -4, max: 4, step: 0.1, value: m, spoken: (v) => v.toFixed(1).replace("-", "−"), changed: draw }),
    s: slider({ label: `width of ${name}`, min: 0.4, max: 3, step: 0.1, value: s, spoken: (v) => v.toFixed(1), changed: draw }),
    home: [m, s],
  });
  const both = [one("q", "live-a", -1, 0.7), one("p", "live-b", 1, 1.5)];
  const reset = button("Reset", () => { for (const g of both) [g.m.value, g.s.value] = g.home; draw(); });
  body.append(chart.node, key([["live-a", "q"], ["live-b", "p"]]), html("div", { class: "live-controls" }, ...both.flatMap((g) => [g.m.row, g.s.row])), html("div", { class: "live-row" }, reset), readout);
  for (const g of both) {
    g.handle.addEventListener("pointerdown", (event) => { g.handle.setPointerCapture(event.pointerId); event.preventDefault(); });
    g.handle.addEventListener("pointermove", (event) => {
      if (!g.handle.hasPointerCapture(event.pointerId)) return;
      const share = (place(chart.node, event)[0] - chart.px(-6)) / (chart.px(6) - chart.px(-6));
      g.m.value = -6 + 12 * share; // the slider keeps it between its ends
      draw();
    });
  }
  draw();

  function draw() {
    const [q, p] = both.map((g) => {
      const [m, s] = [g.m.value, g.s.value];
      g.curve(x, density(m, s));
      g.handle.setAttribute("cx", chart.px(m));
      g.handle.setAttribute("cy", chart.py(1 / (s * Math.sqrt(2 * Math.PI))));
      return [m, s];
    });
    const words = (a, b) => divergence(...a, ...b).toFixed(2);
    chart.node.setAttribute("aria-label", `Densities of two normal distributions, means ${q[0].toFixed(1)} and ${p[0].toFixed(1)}, standard deviations ${q[1].toFixed(1)} and ${p[1].toFixed(1)}`);
    readout.textContent = `KL(q ‖ p) = ${words(q, p)} nats, KL(p ‖ q) = ${words(p, q)} nats.`;
  }
};
