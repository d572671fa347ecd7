// A trained decoder under the reader's hand: sliders for its latents, dots for what it was trained on.
(() => {
  const { html, svg, slider, select, button, number, axes, place, key, floats } = Live;
  const SILENT = 0.05; // nats; below it geoae calls a latent inactive

  // Layers, each a function from one array to the next, made from the words of geoae.export.decoder_json.
  function layersOf(spec) {
    const numbers = Float64Array.from(floats(spec.weights, spec.dtype));
    let at = 0;
    const take = (n) => numbers.subarray(at, (at += n));
    const kinds = {
      relu: () => (x) => x.map((v) => Math.max(v, 0)),
      tanh: () => (x) => x.map(Math.tanh),
      sigmoid: () => (x) => x.map((v) => 1 / (1 + Math.exp(-v))),
      silu: () => (x) => x.map((v) => v / (1 + Math.exp(-v))),
      Linear({ shape: [outputs, inputs], bias }) {
        const w = take(outputs * inputs), b = bias ? take(outputs) : new Float64Array(outputs);
        return (x) => b.map((sum, i) => {
          for (let j = 0; j < inputs; j++) sum += w[i * inputs + j] * x[j];
          return sum;
        });
      },
      Conv1d({ shape: [outputs, inputs, kernel], bias, stride, padding }) {
        const w = take(outputs * inputs * kernel), b = bias ? take(outputs) : new Float64Array(outputs);
        return (x) => {
          const n = x.length / inputs, m = Math.floor((n + 2 * padding - kernel) / stride) + 1;
          return new Float64Array(outputs * m).map((_, at) => {
            const i = Math.floor(at / m), first = (at % m) * stride - padding;
            let sum = b[i];
            for (let j = 0; j < inputs; j++)
              for (let q = Math.max(0, -first); q < kernel && first + q < n; q++)
                sum += w[(i * inputs + j) * kernel + q] * x[j * n + first + q];
            return sum;
          });
        };
      },
      ConvTranspose1d({ shape: [inputs, outputs, kernel], bias, stride, padding, output_padding: extra }) {
        const w = take(inputs * outputs * kernel), b = bias ? take(outputs) : new Float64Array(outputs);
        return (x) => {
          const n = x.length / inputs, m = (n - 1) * stride - 2 * padding + kernel + extra;
          const y = new Float64Array(outputs * m);
          for (let i = 0; i < outputs; i++) y.fill(b[i], i * m, (i + 1) * m);
          for (let j = 0; j < inputs; j++)
            for (let p = 0; p < n; p++) {
              const first = p * stride - padding; // each sample paints a copy of the kernel
              for (let i = 0; i < outputs; i++)
                for (let q = Math.max(0, -first); q < kernel && first + q < m; q++)
                  y[i * m + first + q] += x[j * n + p] * w[(j * outputs + i) * kernel + q];
            }
          return y;
        };
      },
    };
    return spec.layers.map((layer) => kinds[layer.type](layer));
  }

  function decoderOf(spec) {
    const layers = layersOf(spec), offset = floats(spec.offset);
    return (z) => layers.reduce((x, layer) => layer(x), Float64Array.from(z)).map((v, i) => v * spec.gain + offset[i]);
  }

  // Units as people write them: N m-1 becomes N m⁻¹, and 1 nothing.
  const unit = (words) => (words && words !== "1" ? words.replace(/-?\d/g, (d) => d.replace("-", "⁻").replace(/\d/, (n) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[n])) : "");

  function extent(values, margin) {
    let [low, high] = [Infinity, -Infinity];
    for (const v of values) { low = Math.min(low, v); high = Math.max(high, v); }
    const more = margin * (high - low || 1);
    return [low - more, high + more];
  }

  // Seven colours of viridis, and all between them.
  const VIRIDIS = [[68, 1, 84], [70, 50, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 194, 109], [180, 222, 44]];
  function viridis(share) {
    const at = Math.min(share, 0.9999) * (VIRIDIS.length - 1), i = Math.floor(at);
    return `rgb(${VIRIDIS[i].map((v, c) => Math.round(v + (at - i) * (VIRIDIS[i + 1][c] - v)))})`;
  }

  Live.figures["latent-explorer"] = (body, spec, root) => {
    const decode = decoderOf(spec), z = new Float64Array(spec.latent);
    const size = spec.channels * spec.length, examples = spec.examples;
    const time = Float64Array.from({ length: spec.length }, (_, i) => spec.time[0] + (i * (spec.time[1] - spec.time[0])) / (spec.length - 1));
    const traces = examples ? floats(examples.traces, spec.dtype) : decode(z);
    const means = examples && floats(examples.mean);
    const example = (i) => traces.subarray(i * size, (i + 1) * size);
    const kl = (i) => examples?.kl?.[i];
    const latents = [...z.keys()].sort((i, j) => (kl(j) ?? 0) - (kl(i) ?? 0)); // the busiest first
    let chosen = -1;

    // --- the trace, a panel for each channel
    const word = (units) => (unit(units) ? ` [${unit(units)}]` : "");
    const panels = Array.from({ length: spec.channels }, () =>
      axes({ height: 230, x: spec.time, y: extent(traces, 0.08), xlabel: (spec["x-label"] ?? "time") + word(spec.time_units), ylabel: (spec["y-label"] ?? "") + word(spec.units) }));
    const lines = panels.map((panel, channel) => {
      const part = (values) => values.subarray(channel * spec.length, (channel + 1) * spec.length);
      if (examples) // some of the training traces, for what such traces look like
        for (let i = 0; i < examples.count; i += Math.ceil(examples.count / 14)) panel.curve("live-faint")(time, part(example(i)));
      const truth = panel.curve("live-b"), ours = panel.curve("live-a");
      return (decoded, true_) => { ours(time, part(decoded)); truth(...(true_ ? [time, part(true_)] : [[], []])); };
    });

    // --- a slider for each latent, with what it is worth
    const most = Math.max(...z.map((_, i) => kl(i) ?? 0), 1e-9);
    const reach = means ? Math.max(3, Math.ceil(means.reduce((m, v) => Math.max(m, Math.abs(v)), 0))) : 3;
    const sliders = latents.map((i) => {
      const worth = kl(i) == null ? "" : html("span", { class: "live-worth" },
        html("i", { style: `--share:${kl(i) / most}` }), `KL ${kl(i).toFixed(2)} nats${kl(i) < SILENT ? ", inactive" : ""}`);
      const one = slider({ label: `z${i}`, min: -reach, max: reach, step: 0.05, value: 0, spoken: (v) => number(v.toFixed(2)), beside: worth,
        changed: () => { z[i] = one.value; draw(); } });
      if (kl(i) < SILENT) one.row.classList.add("live-off");
      return Object.assign(one, { latent: i });
    });

    const readout = html("p", { class: "live-readout" });
    const controls = html("div", { class: "live-controls live-latents" }, ...sliders.map((s) => s.row));
    const entries = [["live-a", "decoded in this page"]];
    if (examples) entries.push(["live-b", "training trace"], ["live-faint", "other training traces"]);
    body.append(...panels.map((p) => p.node), key(entries), controls);
    const map = examples && dots();
    if (map) body.append(map.node);
    body.append(html("div", { class: "live-row" }, button("Reset", () => { move(new Float64Array(spec.latent)); })), readout);
    root.decode = decode; // for tests, and for the curious in the console
    draw();

    function move(code, index = -1) {
      z.set(code);
      chosen = index;
      sliders.forEach((s) => { s.value = z[s.latent]; });
      map?.pick(index);
      draw();
    }

    function draw() {
      const decoded = decode(z), truth = chosen < 0 ? null : example(chosen);
      lines.forEach((line) => line(decoded, truth));
      map?.cross();
      const code = [...z].map((v, i) => `z${i} = ${number(v.toFixed(2))}`).join(", ");
      panels.forEach((p) => p.node.setAttribute("aria-label", `Decoded trace for ${code}${truth ? ", with a training trace" : ""}`));
      if (!truth) { readout.textContent = examples ? "Click a dot, or move the last slider, to compare with a training trace." : ""; return; }
      const error = Math.sqrt(decoded.reduce((sum, v, i) => sum + (v - truth[i]) ** 2, 0) / size);
      readout.textContent = `${describe(chosen)}; rms difference ${error.toPrecision(2)}${unit(spec.units) ? " " + unit(spec.units) : ""}.`;
    }

    function describe(i) {
      const parts = Object.entries(examples.parameters).map(([name, p]) => `${name} = ${number(Number(p.values[i].toPrecision(3)))}${unit(p.units) ? " " + unit(p.units) : ""}`);
      return `Training trace ${i}${parts.length ? ": " : ""}${parts.join(", ")}`;
    }

    // Codes of the training traces on two latents; a click takes the trace of the nearest dot, or any place.
    function dots() {
      const names = Object.keys(examples.parameters), all = latents.map((i) => [String(i), `z${i}`]);
      const across = select("across", all, String(latents[0]), redraw), up = select("up", all, String(latents[1] ?? latents[0]), redraw);
      const colour = select("colour", names.map((n) => [n, n]), names[0], redraw);
      const scale = html("span", { class: "live-scale" }), frame = html("div", { class: "live-map" });
      const step = slider({ label: "training trace", min: -1, max: examples.count - 1, step: 1, value: -1,
        spoken: (i) => (i < 0 ? "none" : String(i)),
        changed: () => (step.value < 0 ? move(new Float64Array(spec.latent)) : move(example_code(step.value), step.value)) });
      const choices = html("div", { class: "live-row" }, ...(spec.latent > 2 ? [across.row, up.row] : []), ...(names.length > 1 ? [colour.row] : []), scale);
      const example_code = (i) => means.subarray(i * spec.latent, (i + 1) * spec.latent);
      let chart, mark, ring, centres;
      redraw();
      return {
        node: html("div", {}, frame, choices, html("div", { class: "live-controls live-step" }, step.row)),
        cross() {
          mark.setAttribute("transform", `translate(${chart.px(z[across.value])},${chart.py(z[up.value])})`);
        },
        pick(i) {
          step.value = i;
          ring.setAttribute("visibility", i < 0 ? "hidden" : "visible");
          if (i >= 0) { ring.setAttribute("cx", centres[i][0]); ring.setAttribute("cy", centres[i][1]); }
        },
      };

      function redraw() {
        const [a, b] = [Number(across.value), Number(up.value)];
        chart = axes({ width: 480, height: 300, x: [-reach, reach], y: [-reach, reach], xlabel: `z${a}`, ylabel: `z${b}` });
        chart.node.setAttribute("aria-label", `Mean codes of ${examples.count} training traces on z${a} and z${b}`);
        const values = examples.parameters[colour.value]?.values, [low, high] = extent(values ?? [0], 0);
        centres = Array.from({ length: examples.count }, (_, i) => [chart.px(example_code(i)[a]), chart.py(example_code(i)[b])]);
        centres.forEach(([cx, cy], i) => chart.inside.append(svg("circle", { cx, cy, r: 4.5, class: "live-dot", fill: values ? viridis((values[i] - low) / (high - low || 1)) : "grey" })));
        ring = chart.inside.appendChild(svg("circle", { r: 8, class: "live-ring", visibility: "hidden" }));
        mark = chart.inside.appendChild(svg("path", { d: "M-11,0H11M0,-11V11", class: "live-mark" }));
        chart.node.addEventListener("click", click);
        frame.replaceChildren(chart.node);
        const units = unit(examples.parameters[colour.value]?.units);
        scale.replaceChildren(...(values ? [`${names.length > 1 ? "" : colour.value + " "}${number(Number(low.toPrecision(3)))}`, html("i", { style: `background:linear-gradient(90deg,${VIRIDIS.map((c) => `rgb(${c})`)})` }), `${number(Number(high.toPrecision(3)))}${units ? " " + units : ""}`] : []));
        if (chosen >= 0) { ring.setAttribute("visibility", "visible"); ring.setAttribute("cx", centres[chosen][0]); ring.setAttribute("cy", centres[chosen][1]); }
        mark.setAttribute("transform", `translate(${chart.px(z[a])},${chart.py(z[b])})`);
      }

      function click(event) {
        const [x, y] = place(chart.node, event);
        const far = centres.map(([cx, cy]) => Math.hypot(cx - x, cy - y));
        const nearest = far.indexOf(Math.min(...far));
        if (far[nearest] < 14) { move(example_code(nearest), nearest); return; }
        const code = Float64Array.from(z), back = (p, q, r) => Math.max(-reach, Math.min(reach, ((r - p) / (q - p)) * 2 * reach - reach));
        code[up.value] = back(chart.py(-reach), chart.py(reach), y);
        code[across.value] = back(chart.px(-reach), chart.px(reach), x);
        move(code);
      }
    }
  };
})();
