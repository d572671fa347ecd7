// A convolution and its transpose are one matrix, read by rows or by columns.
Live.figures["sliding-matrix"] = (body) => {
  const { html, svg, slider, select, button, number } = Live;
  const KERNEL = [1, 2, -1], X = [2, 1, 0, 3, 1, 2, 0, 1], Y = [1, 2, 0, -1, 3, 1, 2, 1];
  const CELL = 40, LEFT = 4, TOP = 74;
  const picture = html("div"), readout = html("p", { class: "live-readout" });
  const way = select("", [["down", "convolution: C x"], ["up", "transposed convolution: Cᵀ y"]], "down", draw);
  const stride = slider({ label: "stride", min: 1, max: 3, step: 1, value: 1, spoken: String, changed: draw });
  const padding = slider({ label: "padding", min: 0, max: 1, step: 1, value: 0, spoken: String, changed: draw });
  const row = slider({ label: "row", min: 1, max: 8, step: 1, value: 1, spoken: String, changed: draw });
  const reset = button("Reset", () => { stride.value = 1; padding.value = 0; row.value = 1; draw(); });
  way.row.firstChild.remove();
  way.row.firstChild.setAttribute("aria-label", "which of the two");
  body.append(html("div", { class: "live-row" }, way.row, reset), picture, html("div", { class: "live-controls" }, row.row, stride.row, padding.row), readout);
  draw();

  function draw() {
    const [s, p, n, k] = [stride.value, padding.value, X.length, KERNEL.length];
    const m = Math.floor((n + 2 * p - k) / s) + 1, i = Math.min(row.value, m) - 1, down = way.value === "down";
    row.value = i + 1;
    const C = Array.from({ length: m }, (_, r) => X.map((_, c) => KERNEL[c - (r * s - p)] ?? 0));
    const inside = (r, c) => KERNEL[c - (r * s - p)] !== undefined;
    const y = down ? C.map((line) => line.reduce((sum, v, c) => sum + v * X[c], 0)) : Y.slice(0, m);
    const x = down ? X : X.map((_, c) => C.reduce((sum, line, r) => sum + line[c] * y[r], 0));

    const node = svg("svg", { viewBox: `0 0 ${LEFT + CELL * (n + 2) + 12} ${TOP + CELL * 8 + 4}`, role: "img", style: "max-width:30rem;margin:auto" });
    const put = (column, top, value, kind) => node.append(
      svg("rect", { x: LEFT + column * CELL, y: top, width: CELL, height: CELL, class: `live-cell ${kind}` }),
      svg("text", { x: LEFT + (column + 0.5) * CELL, y: top + CELL / 2 + 5, "text-anchor": "middle", class: "live-number" }, value));
    const say = (x, y, words) => node.append(svg("text", { x, y, class: "live-number" }, words));
    say(LEFT, 18, down ? "in: x" : "out: Cᵀy");
    say(LEFT + (n + 1) * CELL + 4, TOP - 8, down ? "out" : "in: y");
    x.forEach((v, c) => put(c, 26, number(v), inside(i, c) ? "on" : ""));
    C.forEach((line, r) => {
      line.forEach((v, c) => put(c, TOP + r * CELL, inside(r, c) ? number(v) : "", r === i && inside(r, c) ? "on" : inside(r, c) ? "kernel" : ""));
      put(n + 1, TOP + r * CELL, number(y[r]), r === i ? "on" : "");
    });
    node.setAttribute("aria-label", `Matrix of ${m} rows and ${n} columns, row ${i + 1} of it lit`);
    picture.replaceChildren(node);

    const under = X.map((_, c) => c).filter((c) => inside(i, c));
    readout.textContent = down
      ? `Row ${i + 1} looks at ${under.length} samples: ${under.map((c) => `${number(C[i][c])}·${X[c]}`).join(" + ")} = ${number(y[i])}. ${n} samples become ${m}.`
      : `Row ${i + 1} paints ${number(y[i])} times the kernel on samples ${under[0] + 1} to ${under.at(-1) + 1}; where copies overlap they add up. ${m} samples become ${n}.`;
  }
};
