"use strict";
(() => {
  const root = document.documentElement;
  const tip = document.getElementById("tip");
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.classList.add("on");
    const r = tip.getBoundingClientRect();
    const left = Math.min(Math.max(6, x + 14), innerWidth - r.width - 6);
    const top = y + 18 + r.height > innerHeight ? y - r.height - 12 : y + 18;
    tip.style.left = left + "px";
    tip.style.top = Math.max(6, top) + "px";
  };
  const hide = () => tip.classList.remove("on");

  // Texts of marked elements, by pointer and by keyboard.
  document.addEventListener("pointermove", (e) => {
    const t = e.target.closest && e.target.closest("[data-tip]");
    if (t) show(t.dataset.tip, e.clientX, e.clientY);
    else if (!(e.target.closest && e.target.closest("svg[data-series]"))) hide();
  });
  document.addEventListener("focusin", (e) => {
    if (e.target.dataset && e.target.dataset.tip) {
      const r = e.target.getBoundingClientRect();
      show(e.target.dataset.tip, r.left + r.width / 2, r.bottom - 10);
    }
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });

  // Curves: the values nearest to the pointer.
  for (const svg of document.querySelectorAll("svg[data-series]")) {
    let series = null;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "cursor");
    line.setAttribute("visibility", "hidden");
    svg.append(line);
    svg.addEventListener("pointermove", (e) => {
      if (e.target.closest("[data-tip]")) return;
      series = series || JSON.parse(svg.dataset.series);
      const box = svg.getBoundingClientRect();
      const view = svg.viewBox.baseVal;
      const x = ((e.clientX - box.left) / box.width) * view.width;
      let best = null;
      for (const [, , p] of series)
        for (let i = 0; i < p.length; i += 4)
          if (best === null || Math.abs(p[i] - x) < Math.abs(best - x)) best = p[i];
      if (best === null) return;
      let text = "";
      for (const [name, , p] of series) {
        let at = -1;
        for (let i = 0; i < p.length; i += 4) if (at < 0 || Math.abs(p[i] - best) < Math.abs(p[at] - best)) at = i;
        if (at < 0 || Math.abs(p[at] - best) > 12) continue;
        if (!text) text = svg.dataset.x + " " + p[at + 2];
        text += "\n" + name + "  " + p[at + 3];
      }
      for (const [k, v] of [["x1", best], ["x2", best], ["y1", 28], ["y2", view.height - 42]]) line.setAttribute(k, v);
      line.setAttribute("visibility", "visible");
      show(text, e.clientX, e.clientY);
    });
    svg.addEventListener("pointerleave", () => {
      line.setAttribute("visibility", "hidden");
      hide();
    });
  }

  // Architecture parameters: the slider rewrites both heat maps of its block.
  const shown = (v) => (v / 1000).toFixed(2).replace(/^0/, "");
  for (const block of document.querySelectorAll("[data-history]")) {
    const histories = JSON.parse(block.querySelector("script[type='application/json']").textContent);
    const input = block.querySelector("input[type=range]");
    const output = block.querySelector("output");
    const paint = () => {
      const at = Number(input.value);
      for (const svg of block.querySelectorAll("svg.heat[data-kind]")) {
        const h = histories[svg.dataset.kind];
        const i = Math.min(at, h.steps.length - 1);
        output.textContent = "step " + h.steps[i];
        const set = (cell, v, part, kept) => {
          cell.querySelector("rect").setAttribute("fill-opacity", part.toFixed(2));
          cell.querySelector("text").textContent = shown(v);
          cell.classList.toggle("ink", part > 0.55);
          cell.classList.toggle("kept", kept);
        };
        const columns = h.p[i].length / h.k[i].length;
        svg.querySelectorAll(".hc").forEach((c, j) => set(c, h.p[i][j], Math.min(1, h.p[i][j] / h.top), h.k[i][Math.floor(j / columns)] === j % columns));
        svg.querySelectorAll(".hb").forEach((c, j) => set(c, h.b[i][j], h.b[i][j] / 1000, false));
      }
    };
    input.addEventListener("input", paint);
    const play = block.querySelector("button");
    let timer = null;
    play.addEventListener("click", () => {
      if (timer) {
        clearInterval(timer);
        timer = null;
        play.textContent = "play";
        return;
      }
      if (input.value === input.max) input.value = 0;
      play.textContent = "stop";
      timer = setInterval(() => {
        paint();
        if (input.value === input.max) play.click();
        else input.value = Number(input.value) + 1;
      }, 120);
    });
  }

  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  // Paper is white.
  let before = null;
  addEventListener("beforeprint", () => { before = root.dataset.theme || ""; root.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; });
  for (const b of document.querySelectorAll("button[data-copy]"))
    b.addEventListener("click", async () => {
      const text = document.getElementById(b.dataset.copy).textContent;
      try { await navigator.clipboard.writeText(text); b.textContent = "copied"; } catch { b.textContent = "press Ctrl-C"; getSelection().selectAllChildren(document.getElementById(b.dataset.copy)); }
      setTimeout(() => (b.textContent = "copy"), 1500);
    });
})();
