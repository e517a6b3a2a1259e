"use strict";
(() => {
  const by = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const words = JSON.parse(by("#words").textContent);
  const main = by("#slices");
  const viewer = by("#viewer");
  const slices = all(".slice");
  const patients = all(".patient");
  const homes = new Map(slices.map((slice) => [slice, slice.parentNode]));
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const haystacks = new Map(
    slices.map((slice) => [slice, plain(`${slice.dataset.patient ?? ""} ${by(".file", slice).textContent}`)]),
  );
  // No folder is called "/": it stands for slices that lie in none.
  const folderOf = (slice) => slice.dataset.folder ?? "/";
  let current = null;
  let opened = null;

  /* Filters */

  const fits = (slice, wanted) =>
    wanted.urgencies.has(slice.dataset.urgency) &&
    (wanted.reviewed === "all" || (slice.dataset.reviewed === "yes") === (wanted.reviewed === "done")) &&
    (wanted.folder === "" || folderOf(slice) === wanted.folder) &&
    wanted.terms.every((term) => haystacks.get(slice).includes(term));

  const filter = () => {
    const wanted = {
      urgencies: new Set(all(".chip[aria-pressed=true]").map((chip) => chip.dataset.urgency)),
      reviewed: by("#reviewed").value,
      folder: by("#folder").value,
      terms: plain(by("#search").value).split(/\s+/).filter(Boolean),
    };
    let shown = 0;
    for (const slice of slices) {
      slice.hidden = !fits(slice, wanted);
      shown += slice.hidden ? 0 : 1;
    }
    for (const patient of patients) patient.hidden = !by(".slice:not([hidden])", patient);
    by("#none").hidden = shown > 0 || slices.length === 0;
    by("#shown").textContent = words.shown.replace("{shown}", shown).replace("{total}", slices.length);
  };

  const fillFolders = () => {
    for (const name of [...new Set(slices.map(folderOf))].sort()) {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = name;
      by("#folder").append(option);
    }
  };

  /* One list in strict reading order, or patients in the order of their first slice */

  const arrange = () => {
    by("#flat")?.remove();
    if (by("#view").value === "by_patient") {
      for (const slice of slices) homes.get(slice).append(slice);
    } else {
      const flat = document.createElement("div");
      flat.id = "flat";
      flat.className = "slices";
      flat.append(...[...slices].sort((a, b) => a.dataset.n - b.dataset.n));
      main.prepend(flat);
    }
    filter();
  };

  /* Moving and opening */

  const visible = () => all(".slice:not([hidden])", main).filter((slice) => !slice.closest("[hidden]"));

  const move = (step) => {
    const list = visible();
    if (list.length === 0) return;
    const at = list.indexOf(opened ?? current);
    const next = list[Math.min(list.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    go(next);
    if (viewer.open) show(next);
  };

  const go = (slice) => {
    current = slice;
    slice.focus({ preventScroll: true });
    slice.scrollIntoView({ block: "nearest" });
  };

  const toggle = (slice) => {
    if (!by(".heat", slice)) return;
    const on = slice.classList.toggle("heat-on");
    if (slice === opened) {
      by(".stage").classList.toggle("heat-on", on);
      by(".heatmap", viewer).setAttribute("aria-pressed", String(on));
    }
  };

  const decimal = (text) =>
    text && Number(text).toLocaleString(document.documentElement.lang, { minimumFractionDigits: 2 });

  const facts = (slice) => {
    const text = (selector) => by(selector, slice)?.textContent ?? "";
    return [
      ["patient", slice.dataset.patient],
      ["probability", text(".score")],
      ["recommendation", text(".advice")],
      ["reason", text(".reason")],
      ["strongest", decimal(by(".heat", slice)?.dataset.strongest)],
      ["reviewed", text(".verdict")],
      ["file", text(".file")],
      ["judged", slice.dataset.judged],
      ["model", slice.dataset.model],
      ["sha256", slice.dataset.sha],
    ].filter(([, value]) => value);
  };

  const show = (slice) => {
    opened = slice;
    const stage = by(".stage");
    const picture = by(".picture", slice)?.cloneNode(true);
    stage.replaceChildren(...(picture ? [picture] : []));
    stage.classList.toggle("heat-on", slice.classList.contains("heat-on"));
    by("#viewer-title").textContent = by(".badge", slice).textContent;
    const list = by("dl", viewer);
    list.replaceChildren();
    for (const [name, value] of facts(slice)) {
      const term = document.createElement("dt");
      const told = document.createElement("dd");
      term.textContent = words[name];
      told.textContent = value;
      list.append(term, told);
    }
    const original = by(".original", viewer);
    original.hidden = !slice.dataset.file;
    if (slice.dataset.file) original.setAttribute("href", slice.dataset.file);
    const button = by(".heatmap", viewer);
    button.hidden = !by(".heat", slice);
    button.setAttribute("aria-pressed", String(slice.classList.contains("heat-on")));
    if (!viewer.open) viewer.showModal();
  };

  viewer.addEventListener("close", () => {
    const slice = opened;
    opened = null;
    if (slice) go(slice);
  });
  by(".close", viewer).addEventListener("click", () => viewer.close());
  by(".heatmap", viewer).addEventListener("click", () => toggle(opened));
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  main.addEventListener("click", (event) => {
    const slice = event.target.closest(".slice");
    if (!slice || String(getSelection())) return;
    current = slice;
    if (event.target.closest("svg.picture")) show(slice);
  });
  main.addEventListener("focusin", (event) => {
    current = event.target.closest(".slice") ?? current;
  });

  const keys = {
    j: () => move(1),
    k: () => move(-1),
    " ": () => (opened ?? current) && toggle(opened ?? current),
    Enter: () => current && !viewer.open && show(current),
    "/": () => !viewer.open && by("#search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    // A focused button or link keeps what the keyboard means to it.
    if (event.target.closest("button") && event.key === " ") return;
    if (event.target.closest("button, a") && event.key === "Enter") return;
    // Caps lock shall not silence the keys.
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (keys[key]) {
      event.preventDefault();
      keys[key]();
    }
  });

  /* Switches */

  for (const chip of all(".chip")) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  for (const id of ["#reviewed", "#folder"]) by(id).addEventListener("change", filter);
  by("#search").addEventListener("input", filter);
  by("#view").addEventListener("change", arrange);
  by("#theme").addEventListener("change", (event) => {
    document.documentElement.dataset.theme = event.target.value.replace("theme_", "");
  });
  by("#print").addEventListener("click", () => print());
  by("#heatmaps").addEventListener("click", (event) => {
    const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(on));
    for (const slice of slices) slice.classList.toggle("heat-on", on);
  });

  fillFolders();
  by(".controls").hidden = false;
  filter();
})();
