// The console's own script: the live stream, keys, copying, the slider, plots. Every page can be read without it.
"use strict";

(() => {
  const main = () => document.getElementById("main");
  const live = document.getElementById("live");
  let stream = null, seen = null, wanted = 0, timer = null, asking = false;
  let connected = "", away = "", failed = "", again = false;

  // -- the live stream: its id is a position of the log; a hidden page has none ------------------------------------

  const watches = () => main().dataset.watches || "";

  // What is shown may be old while the database does not answer: the page says so, and since when.
  function say() {
    if (live) live.textContent = away || (connected === "live" && failed) || connected;
    document.body.classList.toggle("old", Boolean(away || failed));
  }

  function connect() {
    if (stream || document.hidden || !watches()) return;
    const query = new URLSearchParams();
    const from = seen === null ? Number(main().dataset.position) : seen;
    if (from >= 0) query.set("after", String(from));
    if (watches() !== "*") query.set("tenant", watches());
    stream = new EventSource(`/events?${query}`);
    stream.addEventListener("open", () => { connected = "live"; away = ""; say(); if (again) soon(50); });
    stream.addEventListener("error", () => { connected = "not connected"; say(); });
    stream.addEventListener("away", (event) => {
      const said = JSON.parse(event.data);
      away = `no answer since ${said.since.slice(11, 19)}: ${said.text}`;
      say();
    });
    stream.addEventListener("back", () => { away = ""; say(); soon(50); });
    stream.addEventListener("moved", (event) => {
      seen = Number(event.lastEventId);
      if (live) live.dataset.position = event.lastEventId;
      wanted = Math.max(wanted, seen);
      soon(50);
    });
  }

  function disconnect() {
    if (stream) stream.close();
    stream = null;
    connected = "paused";
    say();
  }

  function soon(milliseconds) {
    if (timer === null) timer = setTimeout(refresh, milliseconds);
  }

  // A form that is being filled in, or a chosen row, is not taken away under the hands of a person.
  function isBusy() {
    const active = document.activeElement;
    const writes = active && main().contains(active) && active.matches("input:not([readonly]), select, textarea");
    return Boolean(writes || main().querySelector("tr.chosen") || main().querySelector("form.act-form"));
  }

  function refresh() {
    timer = null;
    if (asking || document.hidden) return;
    if (isBusy()) { soon(1000); return; }
    asking = true;
    const at = rowNumber();
    fetch(location.pathname + location.search, { signal: AbortSignal.timeout(10000), headers: { accept: "text/html" } })
      .then((answer) => (answer.ok ? answer.text() : Promise.reject(answer.status)))
      .then((text) => {
        htmx.swap("#main", text, { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 }, { select: "#main" });
        if (at >= 0) mark(at);
        failed = "";
        again = false;
      })
      .catch((reason) => {
        again = !(reason >= 400 && reason < 500);
        failed = again ? `this page is old: it was not answered (${reason})` : `there is no such page any more (${reason})`;
      })
      .finally(() => {
        asking = false;
        say();
        // The read models may be behind the log: the page asks again until it shows what was told.
        const open = document.querySelector(".act-state.open");
        if (again) soon(5000);
        else if (!failed && (Number(main().dataset.position) < wanted || open)) soon(1000);
      });
  }

  document.addEventListener("visibilitychange", () => { document.hidden ? disconnect() : connect(); });
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", connect);

  // -- keys --------------------------------------------------------------------------------------------------------

  const rows = () => [...main().querySelectorAll("table.rows tbody tr:not(.gap)")];
  const rowNumber = () => rows().findIndex((row) => row.classList.contains("at"));
  let prefix = "";

  function mark(number) {
    const all = rows();
    all.forEach((row) => row.classList.remove("at"));
    const row = all[Math.min(Math.max(number, 0), all.length - 1)];
    if (!row) return;
    row.classList.add("at");
    row.scrollIntoView({ block: "nearest" });
    const link = row.querySelector("a");
    if (link) link.focus({ preventScroll: true });
  }

  function choose() {
    const row = rows()[rowNumber()];
    if (!row) return;
    const box = row.querySelector("input[type=checkbox]");
    if (box) box.checked = !box.checked;
    row.classList.toggle("chosen");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (prefix === "g") {
      prefix = "";
      const link = document.querySelector(`header nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); location.assign(link.href); }
      return;
    }
    switch (event.key) {
      case "/": event.preventDefault(); document.getElementById("find").focus(); break;
      case "j": mark(rowNumber() + 1); break;
      case "k": mark(rowNumber() - 1); break;
      case "x": choose(); break;
      case "g": prefix = "g"; break;
      case "?": document.getElementById("help").showModal(); break;
    }
  });

  // -- copying, the slider ----------------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const field = document.getElementById(button.dataset.copy);
    field.select();
    const copied = navigator.clipboard ? navigator.clipboard.writeText(field.value) : Promise.reject();
    copied.catch(() => document.execCommand("copy")).finally(() => { button.textContent = "Copied"; });
  });

  function momentOf(slider) { return slider.dataset.moments.split(" ")[Number(slider.value)]; }

  document.addEventListener("input", (event) => {
    if (event.target.id === "slide") document.getElementById("at").value = momentOf(event.target);
  });

  document.addEventListener("change", (event) => {
    if (event.target.id !== "slide") return;
    const slider = event.target;
    const here = new URL(location.href);
    if (Number(slider.value) === Number(slider.max)) here.searchParams.delete("at");
    else here.searchParams.set("at", momentOf(slider));
    location.assign(here);
  });

  // -- plots -------------------------------------------------------------------------------------------------------

  function plot() {
    document.querySelectorAll("[data-plot]").forEach((place) => {
      if (place.dataset.drawn || typeof uPlot === "undefined") return;
      place.dataset.drawn = "yes";
      const given = JSON.parse(place.dataset.plot);
      const ink = getComputedStyle(document.body).color;
      const colours = ["#2f81f7", "#d29922", "#3fb950", "#f85149", "#a371f7"];
      place.plotted = new uPlot({
        width: Math.min(place.clientWidth || 600, 900), height: 180, title: given.title,
        series: [{}, ...given.names.map((label, n) => ({ label, stroke: colours[n % colours.length], width: 2 }))],
        // An hour at least. Of one sample alone uPlot makes years.
        scales: { x: { range: (_, from, to) => {
          const last = Math.min(to, given.times.at(-1) ?? to);
          return [Math.min(from, last - 3600), last];
        } } },
        axes: [{ stroke: ink }, { stroke: ink }],
      }, [given.times, ...given.values], place);
    });
  }

  document.addEventListener("htmx:afterSettle", plot);
  document.addEventListener("DOMContentLoaded", () => { plot(); connect(); });
  if (document.readyState !== "loading") { plot(); connect(); }
})();
