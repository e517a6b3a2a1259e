"use strict";
(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const at = (id) => document.getElementById(id);
  const format = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
  const canvas = at("canvas"), pen = canvas.getContext("2d"), note = at("note");
  const verdicts = [...document.querySelectorAll(".verdict")];

  // The secret leaves the address bar at once; a reload finds it here, another tab needs the printed address again.
  if (location.hash.length > 1) {
    sessionStorage.setItem("token", location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
  }
  // A new session's address in the same tab changes nothing but what stands behind "#".
  addEventListener("hashchange", () => location.reload());
  let shown = null, index = 0, slice = null, heat = null, heatOn = false, since = 0, busy = true, blind = false;
  let turn = 0;
  let view = null;

  // While a slice is on its way no verdict is taken: it would be one about a picture that nobody has seen.
  function work(now) {
    busy = now;
    document.querySelector("main").setAttribute("aria-busy", String(now));
  }

  class Refusal extends Error {}

  async function request(path, body) {
    const headers = { "X-Screener-Token": sessionStorage.getItem("token") || "" };
    const options = { headers, cache: "no-store" };
    if (body) {
      headers["Content-Type"] = "application/json";
      Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    }
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Refusal(words.offline);
    }
    if (!answer.ok) throw new Refusal((await answer.json().catch(() => ({}))).error || String(answer.status));
    return answer;
  }
  const json = async (path, body) => (await request(path, body)).json();

  function trouble(error) {
    at("trouble").textContent = error ? error.message : "";
    at("trouble").hidden = !error;
  }

  function progress(now) {
    blind = now.blind;
    at("doctor").textContent = `${words.reader}: ${now.doctor}`;
    at("progress").textContent = format("progress", now);
    at("unasked").textContent = now.unasked ? format("unasked", { count: now.unasked }) : "";
    at("blind").hidden = !now.blind;
    if (now.problem) trouble(new Refusal(now.problem));
  }

  function list(target, rows) {
    target.replaceChildren(...rows.filter(([, value]) => value).map(([name, value]) => {
      const row = document.createElement("div");
      const term = row.appendChild(document.createElement("dt"));
      const fact = row.appendChild(document.createElement("dd"));
      term.textContent = words[name];
      fact.textContent = value;
      return row;
    }));
  }

  function describe(found) {
    const earlier = found.earlier && format("earlier_given", {
      verdict: words[found.earlier] || found.earlier, doctor: found.earlier_doctor,
    });
    list(at("facts"), [
      ["patient", found.patient], [found.level === "study" ? "study" : "file", found.path], ["judged", found.judged],
      ["earlier", earlier],
    ]);
    at("tool").hidden = !found.opinion;
    at("heat").disabled = !found.opinion;
    if (found.opinion) {
      at("advice").textContent = found.opinion.recommendation;
      at("advice").className = found.opinion.urgency;
      list(at("opinion"), [
        ["probability", found.opinion.probability || words.not_scored], ["reason", found.opinion.reason],
        ["model", found.opinion.model], ["drawn", found.opinion.sampled ? words.sampled : ""],
      ]);
    }
    for (const button of verdicts) {
      button.disabled = false;
      button.setAttribute("aria-pressed", String(button.dataset.diagnosis === given().verdict));
    }
  }

  // What a verdict is about: the study, or on request the slice on show.
  const given = () => at("only").checked && shown.level === "study" ? shown.slices[index] : shown;

  const draftOf = (result) => `draft-${result}`;

  async function show(found) {
    turn++;
    shown = found;
    slice = heat = null;
    heatOn = false;
    at("only").checked = false;
    at("heat").setAttribute("aria-pressed", "false");
    at("missing").hidden = true;
    at("stack").hidden = at("one").hidden = true;
    state("");
    if (!found) {
      list(at("facts"), []);
      at("tool").hidden = true;
      verdicts.forEach((button) => { button.disabled = true; button.setAttribute("aria-pressed", "false"); });
      note.value = "";
      missing(words.nothing);
      sessionStorage.removeItem("shown");
      return draw();
    }
    sessionStorage.setItem("shown", found.result);
    note.value = sessionStorage.getItem(draftOf(found.result)) || "";
    describe(found);
    if (found.verdict) {
      state(format("given", { verdict: words[found.verdict] || found.verdict, doctor: found.verdict_doctor }));
    }
    const keys = found.slices.filter((one) => one.key !== null).sort((one, other) => one.key - other.key);
    at("stack").hidden = found.slices.length < 2;
    at("one").hidden = found.level !== "study" || !found.slices.length;
    at("key").disabled = !keys.length;
    at("slider").max = Math.max(0, found.slices.length - 1);
    since = performance.now();
    reset();
    await showSlice(keys.length ? found.slices.indexOf(keys[0]) : Math.floor(found.slices.length / 2));
    since = performance.now();
  }

  // One slice of what is shown; the contrast, the brightness and the zoom stay.
  async function showSlice(place) {
    const mine = ++turn, one = shown.slices[place];
    index = place;
    at("missing").hidden = true;
    if (!one) {
      missing(words.moved);
      return draw();
    }
    at("slider").value = place;
    at("position").textContent = format("position", {
      number: place + 1, total: shown.slices.length, series: one.series && `· ${one.series}`,
    });
    if (shown.level === "study") describe(shown);
    if (shown.level === "study" && one.verdict) {
      state(format("slice_given", { verdict: words[one.verdict] || one.verdict }));
    }
    try {
      const picture = await createImageBitmap(await (await request(`api/picture/${one.result}`)).blob());
      if (mine !== turn) return;
      slice = greys(picture);
      heat = null;
    } catch (error) {
      if (mine !== turn) return;
      slice = heat = null;
      missing(error.message);
    }
    draw();
    if (heatOn) await loadHeat();
  }

  function step(by) {
    const place = shown ? index + by : -1;
    if (place >= 0 && place < shown.slices.length) showSlice(place);
  }

  function nextKey() {
    if (!shown) return;
    const keys = shown.slices.flatMap((one, place) => one.key === null ? [] : [place]);
    if (keys.length) showSlice(keys.find((place) => place > index) ?? keys[0]);
  }

  function missing(sentence) {
    at("missing").textContent = sentence;
    at("missing").hidden = false;
  }

  function state(sentence, bad = false) {
    at("state").textContent = sentence;
    at("state").className = bad ? "bad" : "";
  }

  function greys(picture) {
    const plain = new OffscreenCanvas(picture.width, picture.height);
    const brush = plain.getContext("2d", { willReadFrequently: true });
    brush.drawImage(picture, 0, 0);
    const data = brush.getImageData(0, 0, picture.width, picture.height);
    return { plain, brush, data, source: data.data.slice() };
  }

  function reset() {
    view = { width: 255, level: 127.5, zoom: 1, x: 0, y: 0 };
    draw();
  }

  function windowed() {
    const low = view.level - view.width / 2, table = new Uint8ClampedArray(256);
    for (let grey = 0; grey < 256; grey++) table[grey] = ((grey - low) / view.width) * 255;
    const { data, source } = slice;
    for (let i = 0; i < source.length; i += 4) {
      data.data[i] = data.data[i + 1] = data.data[i + 2] = table[source[i]];
      data.data[i + 3] = 255;
    }
    slice.brush.putImageData(data, 0, 0);
  }

  function draw() {
    const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    at("window").textContent = slice ? format("window", {
      width: Math.round(view.width), level: Math.round(view.level), zoom: view.zoom.toFixed(1),
    }) : "";
    if (!slice) return;
    windowed();
    const { width, height } = slice.plain;
    const scale = Math.min(canvas.width / width, canvas.height / height) * view.zoom;
    pen.translate(canvas.width / 2 + view.x * ratio, canvas.height / 2 + view.y * ratio);
    pen.scale(scale, scale);
    pen.drawImage(slice.plain, -width / 2, -height / 2);
    if (heatOn && heat) pen.drawImage(heat, -width / 2, -height / 2);
  }

  const within = (value, low, high) => Math.min(high, Math.max(low, value));
  function contrast(by) { view.width = within(view.width + by, 2, 1020); draw(); }
  function brightness(by) { view.level = within(view.level + by, -255, 510); draw(); }
  function zoom(by) { view.zoom = within(view.zoom * by, 0.5, 12); draw(); }
  function move(x, y) { view.x += x; view.y += y; draw(); }

  async function loadHeat() {
    const mine = turn;
    try {
      const picture = await createImageBitmap(await (await request(`api/heat/${shown.slices[index].result}`)).blob());
      if (mine === turn) heat = picture;
    } catch (error) {
      if (mine !== turn) return;
      heatOn = false;
      at("heat").setAttribute("aria-pressed", "false");
      state(error.message, true);
    }
    draw();
  }

  async function toggleHeat() {
    if (!shown || !shown.opinion || !shown.slices.length) return;
    heatOn = !heatOn;
    at("heat").setAttribute("aria-pressed", String(heatOn));
    if (heatOn && !heat) return loadHeat();
    draw();
  }

  async function go(path) {
    if (busy) return;
    work(true);
    try {
      const found = (await json(path)).case;
      trouble(null);
      progress(await json("api/progress"));
      if (found || path.startsWith("api/next")) await show(found);
    } catch (error) {
      trouble(error);
    } finally {
      work(false);
    }
  }
  const next = () => go(`api/next${shown ? `?after=${shown.result}` : ""}`);
  const neighbour = (step) => shown ? go(`api/neighbour/${shown.result}?step=${step}`) : next();

  // An answer that got lost is sent again under the same name, and so counts once.
  function requestOf(result, diagnosis) {
    const key = `request-${result}-${diagnosis}`;
    const known = sessionStorage.getItem(key) || crypto.randomUUID();
    sessionStorage.setItem(key, known);
    return [key, known];
  }

  async function give(diagnosis) {
    if (!shown || busy) return;
    work(true);
    const target = given(), whole = target === shown;
    const [key, name] = requestOf(target.result, diagnosis);
    const seconds = Math.min((performance.now() - since) / 1000, 86400);
    state(words.saving);
    let advance = false;
    try {
      const answer = await json("api/verdict", {
        result: target.result, diagnosis, note: note.value, seconds, request: name,
      });
      sessionStorage.removeItem(key);
      sessionStorage.removeItem(draftOf(shown.result));
      trouble(null);
      progress(answer.progress);
      shown = answer.case;
      at("only").checked = false;
      describe(shown);
      if (!whole) note.value = "";
      state(format("saved", { verdict: words[diagnosis] }));
      advance = whole && !blind;
    } catch (error) {
      state(format("failed", { error: error.message }), true);
    } finally {
      work(false);
    }
    if (advance) {
      const sentence = at("state").textContent;
      await next();
      if (!at("state").textContent) state(sentence);
    }
  }

  async function begin() {
    const former = sessionStorage.getItem("shown");
    try {
      progress(await json("api/progress"));
      // What was on show before a reload; a slice that was judged anew since is none of this log's any more.
      const found = former && await json(`api/case/${former}`).catch(() => null);
      if (found) await show(found.case);
    } catch (error) {
      trouble(error);
    } finally {
      work(false);
    }
    if (!shown && at("trouble").hidden) await next();
  }

  async function again() {
    try {
      progress(await json("api/refresh"));
      await next();
    } catch (error) {
      trouble(error);
    }
  }

  for (const button of verdicts) button.addEventListener("click", () => give(button.dataset.diagnosis));
  at("heat").addEventListener("click", toggleHeat);
  at("reset").addEventListener("click", reset);
  at("back").addEventListener("click", () => neighbour(-1));
  at("forward").addEventListener("click", () => neighbour(1));
  at("next").addEventListener("click", next);
  at("again").addEventListener("click", again);
  at("key").addEventListener("click", nextKey);
  at("slider").addEventListener("input", () => { if (shown) showSlice(Number(at("slider").value)); });
  at("only").addEventListener("change", () => { if (shown) describe(shown); });
  note.addEventListener("input", () => {
    if (shown) sessionStorage.setItem(draftOf(shown.result), note.value);
  });

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const x = event.clientX - drag.x, y = event.clientY - drag.y;
    drag = { x: event.clientX, y: event.clientY };
    if (event.shiftKey || event.buttons & 4) return move(x, y);
    view.width = within(view.width + x, 2, 1020);
    brightness(y);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (!event.ctrlKey && shown && shown.slices.length > 1) return step(event.deltaY < 0 ? -1 : 1);
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }, { passive: false });
  addEventListener("resize", draw);

  const letters = Object.fromEntries(verdicts.map((button) => [
    button.querySelector("kbd").textContent, () => give(button.dataset.diagnosis),
  ]));
  const keys = {
    ...letters, "[": () => step(-1), "]": () => step(1), PageUp: () => step(-1), PageDown: () => step(1), x: nextKey,
    l: () => at("one").hidden || at("only").click(), " ": toggleHeat, j: () => neighbour(1), k: () => neighbour(-1), Enter: next, r: reset,
    m: () => note.focus(), a: () => contrast(-16), d: () => contrast(16), w: () => brightness(-8),
    s: () => brightness(8), "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15),
    ArrowLeft: () => move(24, 0), ArrowRight: () => move(-24, 0), ArrowUp: () => move(0, 24), ArrowDown: () => move(0, -24),
  };
  addEventListener("keydown", (event) => {
    if (event.target === at("slider") && event.key.startsWith("Arrow")) return;
    if (event.target === note) {
      if (event.key === "Escape") note.blur();
      return;
    }
    // Caps lock shall not silence the keys.
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat && letters[key]) return;
    const pressed = keys[key];
    const button = event.target.closest("button") && (event.key === " " || event.key === "Enter");
    if (!pressed || button) return;
    event.preventDefault();
    pressed();
  });
  begin();
})();
