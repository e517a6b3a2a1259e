"use strict";
(() => {
  const by = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const words = JSON.parse(by("#words").textContent);
  const main = by("#slices");
  const viewer = by("#viewer");
  const items = all(".item");
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const haystacks = new Map(
    items.map((item) => [
      item,
      plain([item.dataset.patient ?? "", item.dataset.study ?? "", ...all("h2, .file", item).map((part) => part.textContent)].join(" ")),
    ]),
  );
  // No folder is called "/": it stands for what lies in none.
  const folderOf = (item) => item.dataset.folder ?? "/";
  let current = null;
  let opened = null;

  /* Filters */

  const fits = (item, wanted) =>
    wanted.urgencies.has(item.dataset.urgency) &&
    (wanted.reviewed === "all" || (item.dataset.reviewed === "yes") === (wanted.reviewed === "done")) &&
    (wanted.folder === "" || folderOf(item) === wanted.folder) &&
    wanted.terms.every((term) => haystacks.get(item).includes(term));

  const filter = () => {
    const wanted = {
      urgencies: new Set(all(".chip[aria-pressed=true]").map((chip) => chip.dataset.urgency)),
      reviewed: by("#reviewed").value,
      folder: by("#folder").value,
      terms: plain(by("#search").value).split(/\s+/).filter(Boolean),
    };
    let shown = 0;
    for (const item of items) {
      item.hidden = !fits(item, wanted);
      shown += item.hidden ? 0 : 1;
    }
    by("#none").hidden = shown > 0 || items.length === 0;
    by("#shown").textContent = words.shown.replace("{shown}", shown).replace("{total}", items.length);
  };

  const fillFolders = () => {
    for (const name of [...new Set(items.map(folderOf))].sort()) {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = name;
      by("#folder").append(option);
    }
  };

  /* The series of a study: tabs, and one slice after the other */

  const cines = new Map();

  const cineOf = (panel) => {
    if (cines.has(panel)) return cines.get(panel);
    const strip = all("li", panel);
    const [stage, curve, slider, told] = [".cine", ".curve", ".slider", ".looked-at"].map((one) => by(one, panel));
    // Pictures are made when a panel is seen: thousands of them would keep the page from opening.
    for (const slice of strip.filter((one) => one.dataset.picture)) {
      const picture = document.createElement("img");
      picture.alt = slice.dataset.label;
      picture.src = slice.dataset.picture;
      slice.replaceChildren(picture);
    }
    let at = -1;
    const look = (place) => {
      const next = Math.min(strip.length - 1, Math.max(0, place));
      if (next === at) return;
      strip[at]?.classList.remove("looked");
      at = next;
      const slice = strip[at];
      slice.classList.add("looked");
      slider.value = at + 1;
      slider.setAttribute("aria-valuetext", slice.dataset.label);
      told.textContent = slice.dataset.label;
      by(".here", curve).setAttribute("d", `M${at + 0.5} 0V100`);
      const around = slice.parentNode.parentNode;
      around.scrollLeft = slice.offsetLeft - around.offsetLeft - (around.clientWidth - slice.clientWidth) / 2;
      if (!stage) return;
      const large = slice.dataset.key && by(".picture:not(.none)", document.getElementById(slice.dataset.key));
      const picture = (large || by("img", slice))?.cloneNode(true);
      stage.replaceChildren(...(picture ? [picture] : []));
    };
    const found = { look, step: (by_) => look(at + by_), first: () => look(Number(panel.dataset.first) - 1) };
    cines.set(panel, found);
    slider.hidden = false;
    slider.addEventListener("input", () => look(slider.value - 1));
    const under = (event) => {
      const box = curve.getBoundingClientRect();
      return Math.floor(((event.clientX - box.left) / box.width) * strip.length);
    };
    curve.addEventListener("pointermove", (event) => look(under(event)));
    curve.addEventListener("click", (event) => look(under(event)));
    by(".strip", panel).addEventListener("click", (event) => {
      const slice = event.target.closest("li");
      if (slice) look(strip.indexOf(slice));
    });
    for (const place of [stage, curve].filter(Boolean)) {
      place.addEventListener(
        "wheel",
        (event) => {
          event.preventDefault();
          found.step(event.deltaY > 0 ? 1 : -1);
        },
        { passive: false },
      );
    }
    found.first();
    return found;
  };

  const panelOf = (item) => by(".panel:not([hidden])", item);

  const choose = (tab, focus) => {
    const tabs = all("[role=tab]", tab.parentNode);
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    cineOf(document.getElementById(tab.getAttribute("aria-controls")));
    if (focus) tab.focus();
  };

  for (const list of all("[role=tablist]")) {
    list.hidden = false;
    list.parentNode.classList.add("tabbed");
    const tabs = all("[role=tab]", list);
    for (const tab of tabs.slice(1)) document.getElementById(tab.getAttribute("aria-controls")).hidden = true;
    list.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) choose(tab, false);
    });
    list.addEventListener("keydown", (event) => {
      const at = tabs.indexOf(event.target.closest("[role=tab]"));
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (at < 0 || next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      choose(tabs[(next + tabs.length) % tabs.length], true);
    });
  }

  // A page of hundreds of studies opens at once: a panel is set up when it comes near to being seen.
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        near.unobserve(entry.target);
        cineOf(entry.target);
      }
    },
    { rootMargin: "600px" },
  );
  for (const panel of all(".panel")) near.observe(panel);

  /* Moving and opening */

  const visible = () => items.filter((item) => !item.hidden);

  const move = (step) => {
    const list = visible();
    if (list.length === 0) return;
    const at = list.indexOf(opened ?? current);
    const next = list[Math.min(list.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    go(next);
    if (viewer.open) show(next);
  };

  const go = (item) => {
    current = item;
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  };

  const toggle = (item) => {
    if (!by(".heat", item)) return;
    const on = item.classList.toggle("heat-on");
    if (item === opened) {
      by(".stage").classList.toggle("heat-on", on);
      by(".heatmap", viewer).setAttribute("aria-pressed", String(on));
    }
  };

  const decimal = (text) =>
    text && Number(text).toLocaleString(document.documentElement.lang, { minimumFractionDigits: 2 });

  const facts = (item, picture) => {
    const text = (selector, root = item) => by(selector, root)?.textContent ?? "";
    return [
      ["patient", item.dataset.patient],
      ["study", item.dataset.study],
      ["probability", text(".score")],
      ["slice_picture", text("figcaption > b", picture)],
      ["recommendation", text(".advice")],
      ["reason", text(".reason")],
      ["strongest", decimal(by(".heat", picture)?.dataset.strongest)],
      ["reviewed", text(".verdict")],
      ["file", text(".file", picture)],
      ["judged", item.dataset.judged],
      ["model", item.dataset.model],
      ["sha256", picture.dataset.sha],
    ].filter(([, value]) => value);
  };

  // What is opened is a slice, or a key slice of a study.
  const show = (item, chosen = null) => {
    opened = item;
    const figure = chosen ?? by(".key", item) ?? item;
    const stage = by(".stage");
    const picture = by(".picture", figure)?.cloneNode(true);
    stage.replaceChildren(...(picture ? [picture] : []));
    stage.classList.toggle("heat-on", item.classList.contains("heat-on"));
    by("#viewer-title").textContent = by(".badge", item).textContent;
    const list = by("dl", viewer);
    list.replaceChildren();
    for (const [name, value] of facts(item, figure)) {
      const term = document.createElement("dt");
      const told = document.createElement("dd");
      term.textContent = words[name];
      told.textContent = value;
      list.append(term, told);
    }
    const original = by(".original", viewer);
    original.hidden = !figure.dataset.file;
    if (figure.dataset.file) original.setAttribute("href", figure.dataset.file);
    const button = by(".heatmap", viewer);
    button.hidden = !by(".heat", figure);
    button.setAttribute("aria-pressed", String(item.classList.contains("heat-on")));
    if (!viewer.open) viewer.showModal();
  };

  viewer.addEventListener("close", () => {
    // The event may come when another slice is open already.
    if (viewer.open) return;
    const item = opened;
    opened = null;
    if (item) go(item);
  });
  by(".close", viewer).addEventListener("click", () => viewer.close());
  by(".heatmap", viewer).addEventListener("click", () => opened && toggle(opened));
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  main.addEventListener("click", (event) => {
    const item = event.target.closest(".item");
    if (!item || String(getSelection())) return;
    current = item;
    if (event.target.closest("svg.picture")) show(item, event.target.closest(".key"));
  });
  main.addEventListener("focusin", (event) => {
    current = event.target.closest(".item") ?? current;
  });

  const through = (step) => {
    const panel = current && !viewer.open && panelOf(current);
    if (panel) cineOf(panel).step(step);
  };

  const keys = {
    j: () => move(1),
    k: () => move(-1),
    ArrowRight: () => through(1),
    ArrowLeft: () => through(-1),
    " ": () => (opened ?? current) && toggle(opened ?? current),
    Enter: () => current && !viewer.open && show(current),
    "/": () => !viewer.open && by("#search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input:not([type=range]), select, textarea");
    if (event.target.closest("input[type=range]") && event.key.startsWith("Arrow")) return;
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    // A focused button or link keeps what the keyboard means to it.
    if (event.target.closest("button, summary") && event.key === " ") return;
    if (event.target.closest("button, a, summary") && event.key === "Enter") return;
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
  by("#theme").addEventListener("change", (event) => {
    document.documentElement.dataset.theme = event.target.value.replace("theme_", "");
  });
  by("#print").addEventListener("click", () => print());
  by("#heatmaps").addEventListener("click", (event) => {
    const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(on));
    for (const item of items) item.classList.toggle("heat-on", on);
  });

  fillFolders();
  by(".controls").hidden = false;
  filter();
})();
