// The page: films, what is in them, what to do, and the jobs.
import * as form from "./form.js";
import * as jobs from "./jobs.js";
import * as player from "./player.js";
import { ask, listen, upload } from "./server.js";
import { at, clock, describe, element, fraction, lasting, percent, size } from "./words.js";

const films = new Map();
let film = null, awaited = null, limit = Infinity;

// Films.

function listFilms() {
  at("film-list").replaceChildren(...[...films.values()].map((each) => {
    const pick = { type: "button", class: "pick", "aria-pressed": String(each === film), onclick: () => choose(each) };
    const remove = { type: "button", "aria-label": `Remove ${each.name}`, onclick: () => removeFilm(each) };
    return element("li", {},
      element("button", pick, each.name, element("small", {}, short(each))),
      element("button", remove, "Remove"));
  }));
}

function short({ facts, duration }) {
  return `${facts.width} × ${facts.height}${duration == null ? "" : `, ${clock(duration)}`}`;
}

function keep(told) {
  films.set(told.id, told);
  if (film?.id === told.id) film = told;
  return told;
}

function choose(chosen) {
  film = chosen;
  listFilms();
  at("look").hidden = at("task").hidden = false;
  at("look-title").textContent = film.name;
  player.showFilm(film);
  showFacts();
  showFindings();
}

async function removeFilm(gone) {
  await tried("film-error", async () => {
    await ask(`films/${gone.id}`, "DELETE");
    films.delete(gone.id);
    if (film === gone) {
      film = null;
      player.stop();
      at("look").hidden = at("task").hidden = true;
    }
    listFilms();
    at("file").focus();
  });
}

async function send(file) {
  if (file.size > limit) {
    at("film-error").textContent = `${file.name}: is larger than ${size(limit)}, the most that this server takes`;
    return;
  }
  const going = upload(file, (share) => {
    at("upload-progress").value = 100 * share;
    const told = share < 1 ? `${percent(share)} of ${size(file.size)}` : "looking at it …";
    at("upload-name").textContent = `${file.name}: ${told}`;
  });
  at("upload-name").textContent = file.name;
  at("uploading").hidden = false;
  at("upload-cancel").onclick = going.cancel;
  await tried("film-error", async () => choose(keep(await going.done)));
  at("uploading").hidden = true;
  at("file").value = "";
}

// Does something, and shows its error in the element `id`. -> whether it worked
async function tried(id, does) {
  at(id).textContent = "";
  try {
    await does();
    return true;
  } catch (error) {
    at(id).textContent = error.message;
    return false;
  }
}

// What is in a film.

function showFacts() {
  const { facts, duration } = film;
  describe(at("facts"), [
    ["Length", duration == null ? "not declared" : clock(duration)],
    ["Pictures", `${facts.width} × ${facts.height}, ${Number(fraction(facts.frame_rate).toFixed(3))} a second`],
    ["Frames", facts.frames == null ? "not declared" : String(facts.frames)],
    ["Coded as", `${facts.codec}, ${facts.pix_fmt}, in ${facts.container.split(",")[0]}`],
    ["Colour", `${facts.colour.matrix}, ${facts.colour.range === "pc" ? "full" : "limited"} range`],
    ...(facts.rotation ? [["Turned", `${facts.rotation} degrees`]] : []),
    ...(facts.interlaced ? [["Interlaced", "yes"]] : []),
    ...(facts.chapters ? [["Chapters", String(facts.chapters)]] : []),
    ...facts.not_carried.map((words) => ["Not carried over", words]),
  ]);
}

function showFindings() {
  const found = film.findings;
  at("find").hidden = Boolean(found);
  at("find-state").textContent = "";
  at("take").hidden = !found || !Object.keys(found.wanted).length;
  describe(at("found"), !found ? [] : [
    ["Noise", `${found.noise.toFixed(1)} of 255; clean film has up to 0.7`],
    ["Compression", found.coding == null ? "not known" : `damage of ${percent(found.coding)}`],
    ["Repeats", `${percent(found.repeated)} of the frames that move repeat the one before`],
    ["Combs", `${percent(found.telecined)} telecined, ${percent(found.woven)} interlaced`],
    ...(found.first ? [["First", found.first]] : []),
    ...Object.entries(found.reasons).map(([name, reason]) => ["Proposed", `${name}: ${reason}`]),
    ...(found.first || Object.keys(found.wanted).length ? [] : [["Proposed", "nothing: the film looks clean"]]),
    ...(found.seconds ? [["Takes", `${lasting(found.seconds)} for the whole film`]] : []),
  ]);
}

async function find() {
  const looked = film;
  at("find").disabled = true;
  at("find-state").textContent = "Looking at frames all over the film …";
  await tried("find-state", async () => {
    keep(await ask(`films/${looked.id}/findings`, "POST"));
    if (film.id === looked.id) showFindings();
  });
  at("find").disabled = false;
}

function take() {
  form.show("enhance", film.findings.wanted);
  changed();
  at("wishes").elements.verb[0].focus();
}

// Jobs.

async function start(preview) {
  await tried("task-error", async () => {
    const job = await ask("jobs", "POST", { film: film.id, preview, ...form.wishes() });
    if (preview) awaited = job.id;
    jobs.update(job, shown);
    at("queue").scrollIntoView({ block: "nearest" });
  });
}

function changed() {
  at("preview").hidden = form.current().makes !== "pictures";
  at("task-error").textContent = "";
}

const shown = {
  nameOf: (id) => films.get(id)?.name ?? "",
  async show(job) {
    if (film?.id !== job.film) choose(films.get(job.film));
    if (job.is_preview) player.compare(job);
    else if (job.verb === "recognize") await player.showTimeline(job);
    else if (job.verb === "detect") player.showBoxes(job);
    else player.showResult(job);
  },
};

function heard(job) {
  jobs.update(job, shown);
  if (job.id === awaited && job.result) {
    awaited = null;
    if (film?.id === job.film) player.compare(job);
  }
}

// Films of which another window has told are not known here yet.
async function refresh(list) {
  (await ask("films")).forEach(keep);
  listFilms();
  jobs.updateAll(list, shown);
}

async function begin() {
  const about = await ask("about");
  form.build(about.forms, changed);
  at("preview").textContent = `Preview ${about.preview_seconds} seconds`;
  at("file").accept = about.endings.join(",");
  limit = about.max_upload;
  at("limit").textContent = `Up to ${size(about.max_upload)}. Films stay on the computer that this page comes from.`;
  at("named").hidden = !about.folders.length;
  at("folders").textContent = `In ${about.folders.join(", ")}, and the folders in it.`;
  at("listed").append(...about.listed.map((path) => element("option", { value: path })));
  player.wire(() => player.showFilm(film));
  at("file").onchange = () => { if (at("file").files[0]) send(at("file").files[0]); };
  at("named").onsubmit = (event) => {
    event.preventDefault();
    tried("film-error", async () => choose(keep(await ask("films", "POST", { path: at("path").value }))));
  };
  at("find").onclick = find;
  at("take").onclick = take;
  at("wishes").onsubmit = (event) => { event.preventDefault(); start(false); };
  at("preview").onclick = () => start(true);
  const drop = at("drop");
  document.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  document.ondragleave = (event) => { if (!event.relatedTarget) drop.classList.remove("over"); };
  document.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  };
  listen({ jobs: refresh, job: heard, removed: jobs.remove }, (connected) => {
    at("connection").textContent = connected ? "" : "The server does not answer; waiting for it …";
  });
}

begin().catch((error) => { at("film-error").textContent = error.message; });
