// What a sparse autoencoder pays for the mean activation of a hidden unit.
Live.figures["sparsity-penalty"] = (body) => {
  const { html, svg, slider, button, axes, key, number } = Live;
  const mean = Array.from({ length: 398 }, (_, i) => (i + 1) / 400);
  const kl = (rho, r) => rho * Math.log(rho / r) + (1 - rho) * Math.log((1 - rho) / (1 - r));
  const chart = axes({ height: 280, x: [0, 1], y: [0, 1.5], xlabel: "mean activation of the unit", ylabel: "penalty" });
  const [kullback, absolute, square] = ["live-a", "live-b", "live-c"].map(chart.curve);
  const target = chart.inside.appendChild(svg("path", { class: "live-axis-line" }));
  const dot = chart.inside.appendChild(svg("circle", { r: 6, class: "live-handle" }));
  const readout = html("p", { class: "live-readout" });
  const rho = slider({ label: "target ρ", min: 0.005, max: 0.5, step: 0.005, value: 0.05, spoken: (v) => v.toFixed(3), changed: draw });
  const at = slider({ label: "mean activation ρ̂", min: 0.005, max: 0.995, step: 0.005, value: 0.3, spoken: (v) => v.toFixed(3), changed: draw });
  const reset = button("Reset", () => { rho.value = 0.05; at.value = 0.3; draw(); });
  body.append(chart.node, key([["live-a", "KL divergence"], ["live-b", "|ρ̂ − ρ|"], ["live-c", "(ρ̂ − ρ)²"]]), html("div", { class: "live-controls" }, rho.row, at.row), html("div", { class: "live-row" }, reset), readout);
  draw();

  function draw() {
    const [r, a] = [rho.value, at.value];
    kullback(mean, mean.map((v) => kl(r, v)));
    absolute(mean, mean.map((v) => Math.abs(v - r)));
    square(mean, mean.map((v) => (v - r) ** 2));
    target.setAttribute("d", `M${chart.px(r)},${chart.py(0)}V${chart.py(1.5)}`);
    dot.setAttribute("cx", chart.px(a));
    dot.setAttribute("cy", chart.py(Math.min(kl(r, a), 1.5)));
    const slope = (1 - r) / (1 - a) - r / a;
    chart.node.setAttribute("aria-label", `Three penalties against the mean activation, all zero at the target ${r.toFixed(3)}`);
    readout.textContent = `At ρ̂ = ${a.toFixed(3)} the divergence is ${kl(r, a).toFixed(3)} nats; training pushes the activation ${Math.abs(slope) < 1e-9 ? "nowhere" : slope > 0 ? "down" : "up"} (slope ${number(slope.toFixed(2))}).`;
  }
};
