// A real event under more or less noise. The noisy trace is added up here; the denoised ones were computed with the book.
Live.figures["noise-level"] = (body, spec) => {
  const { html, slider, select, button, axes, key, floats, number } = Live;
  const [clean, noise] = [floats(spec.clean, spec.dtype), floats(spec.noise, spec.dtype)], n = clean.length;
  const outputs = Object.fromEntries(Object.entries(spec.methods).map(([name, text]) => [name, floats(text, spec.dtype)]));
  const time = Float64Array.from(clean, (_, i) => i / spec.rate), names = Object.keys(outputs);
  const power = (x) => x.reduce((sum, v) => sum + v * v, 0);
  const reach = 1.25 * clean.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const chart = (title) => axes({ height: 190, x: [0, time[n - 1]], y: [-reach, reach], xlabel: spec["x-label"] ?? "time [s]", ylabel: spec["y-label"] ?? "", title });
  const [top, bottom] = [chart("with noise"), chart("denoised, and the event as it was recorded")];
  const noisy = top.curve("live-c live-thin"), truth = bottom.curve("live-b"), ours = bottom.curve("live-a live-thin");
  const readout = html("p", { class: "live-readout" });
  const level = slider({ label: "SNR", min: 0, max: spec.snr_db.length - 1, step: 1, value: spec.start ?? 0, spoken: (i) => `${number(spec.snr_db[i])} dB`, changed: draw });
  const method = select("by", names.map((name) => [name, name]), names[0], draw);
  const reset = button("Reset", () => { level.value = spec.start ?? 0; draw(); });
  body.append(top.node, bottom.node, key([["live-c", "event + noise"], ["live-a", "denoised"], ["live-b", "the event"]]), html("div", { class: "live-controls" }, level.row), html("div", { class: "live-row" }, method.row, reset), readout);
  truth(time, clean);
  draw();

  function draw() {
    const i = level.value, gain = 10 ** (-spec.snr_db[i] / 20) * Math.sqrt(power(clean) / power(noise));
    const out = outputs[method.value].subarray(i * n, (i + 1) * n);
    noisy(time, clean.map((v, t) => v + gain * noise[t]));
    ours(time, out);
    const after = 10 * Math.log10(power(clean) / power(out.map((v, t) => v - clean[t])));
    top.node.setAttribute("aria-label", `The event with noise at ${spec.snr_db[i]} dB`);
    bottom.node.setAttribute("aria-label", `Denoised by ${method.value}, over the event as recorded`);
    readout.textContent = `${number(spec.snr_db[i])} dB in, ${number(after.toFixed(1))} dB out.`;
  }
};
