// What the live figures share: elements, sliders, axes. Classic scripts on purpose: a page that is opened with a
// double click (file://) may load neither modules nor data. A figure's numbers stand in the page as JSON.
const Live = (() => {
  const figures = {};

  function build(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  // A labelled range input; `spoken` puts its value into words for the eye and the screen reader alike.
  function slider({ label, min, max, step, value, spoken = (v) => v.toFixed(2), changed, beside = "" }) {
    const output = html("output");
    const input = html("input", { type: "range", min, max, step, value, input: () => (show(), changed()) });
    const row = html("label", { class: "live-slider" }, html("span", {}, label), input, output, beside);
    function show() {
      output.textContent = spoken(input.valueAsNumber);
      input.setAttribute("aria-valuetext", output.textContent);
    }
    show();
    return {
      row,
      get value() { return input.valueAsNumber; },
      set value(v) { input.value = v; show(); },
    };
  }

  function select(label, options, value, changed) {
    const choice = html("select", { change: changed });
    options.forEach(([v, words]) => choice.append(html("option", { value: v, selected: v === value }, words)));
    return { row: html("label", { class: "live-select" }, html("span", {}, label), choice), get value() { return choice.value; } };
  }

  const button = (words, click) => html("button", { type: "button", class: "live-button", click }, words);

  // Round numbers that divide a range into about `count` parts.
  function ticks(low, high, count) {
    const raw = (high - low) / count;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = size * [1, 2, 5, 10].find((m) => m * size >= raw * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
    return found.map((v) => Number(v.toPrecision(10)));
  }
  const number = (v) => String(v).replace("-", "−");

  // Axes with ticks; x and y are [low, high]. Gives scales, and `curve` to add a line to them.
  function axes({ width = 640, height = 240, x, y, xlabel, ylabel, title = "" }) {
    const [left, right, top, bottom] = [60, 12, title ? 26 : 12, 44];
    const px = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (width - left - right);
    const py = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    const frame = svg("g", { class: "live-axis" });
    for (const v of ticks(...x, Math.max(2, width / 90)))
      frame.append(
        svg("line", { x1: px(v), x2: px(v), y1: height - bottom, y2: height - bottom + 4 }),
        svg("text", { x: px(v), y: height - bottom + 17, "text-anchor": "middle" }, number(v)),
      );
    for (const v of ticks(...y, Math.max(2, height / 55)))
      frame.append(
        svg("line", { x1: left - 4, x2: left, y1: py(v), y2: py(v) }),
        svg("text", { x: left - 7, y: py(v) + 4, "text-anchor": "end" }, number(v)),
      );
    const middle = (top + height - bottom) / 2;
    frame.append(
      svg("path", { d: `M${left},${top}V${height - bottom}H${width - right}` }),
      svg("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, xlabel),
      svg("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, ylabel),
      svg("text", { x: left, y: 15, class: "live-title" }, title),
    );
    const inside = svg("svg", { x: left, y: top, width: width - left - right, height: height - top - bottom });
    inside.setAttribute("viewBox", `${left} ${top} ${width - left - right} ${height - top - bottom}`);
    node.append(frame, inside);
    const curve = (kind) => {
      const line = inside.appendChild(svg("polyline", { class: `live-line ${kind}` }));
      return (xs, ys) => {
        let points = "";
        for (let i = 0; i < xs.length; i++) points += `${px(xs[i]).toFixed(1)},${py(ys[i]).toFixed(1)} `;
        line.setAttribute("points", points);
      };
    };
    return { node, inside, px, py, curve, width, height };
  }

  // Where on an SVG a pointer is, in the SVG's own units.
  function place(node, event) {
    const box = node.getBoundingClientRect();
    const view = node.viewBox.baseVal;
    return [((event.clientX - box.left) * view.width) / box.width, ((event.clientY - box.top) * view.height) / box.height];
  }

  const key = (entries) =>
    html("p", { class: "live-key" }, ...entries.map(([kind, words]) => html("span", {}, html("i", { class: kind }), words)));

  // Base64 of little-endian floats, as geoae.export writes them.
  function floats(text, dtype = "float32") {
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
    return dtype === "float16" ? Float32Array.from(new Uint16Array(raw), half) : new Float32Array(raw);
  }
  function half(bits) {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll(".live")) {
      const data = place.querySelector('script[type="application/json"]');
      const body = html("div", { class: "live-body" });
      figures[place.dataset.live](body, data ? JSON.parse(data.textContent) : {}, place);
      place.append(body);
    }
  });

  return { figures, html, svg, slider, select, button, ticks, number, axes, place, key, floats };
})();
