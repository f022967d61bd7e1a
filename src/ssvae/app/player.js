const find = (name) => element.querySelector(name);
const section = find("section"), canvas = find("canvas"), video = find("video");
const pen = canvas.getContext("2d");
let shown = null, dragging = false;

const frameNow = () => Math.min(shown.frames - 1, Math.floor(video.currentTime * shown.fps + 0.01));
const second = () => Number(find(".which").value || 1);

function draw() {
  if (!shown || video.readyState < 2) return;
  const { width: w, height: h, names } = shown, view = find(".view").value;
  const whole = view === "side" ? names.length : 1;
  if (canvas.width !== w * whole || canvas.height !== h) { canvas.width = w * whole; canvas.height = h; }
  pen.globalCompositeOperation = "source-over"; pen.filter = "none";
  if (view === "side") pen.drawImage(video, 0, 0, w * whole, h, 0, 0, w * whole, h);
  else if (view === "wipe") {
    const at = Math.round(w * find(".wipe input").value / 1000);
    pen.drawImage(video, 0, 0, w, h, 0, 0, w, h);
    if (at < w) pen.drawImage(video, second() * w + at, 0, w - at, h, at, 0, w - at, h);
    pen.fillStyle = "#fff"; pen.fillRect(at - 1, 0, 2, h);
  } else {
    pen.drawImage(video, 0, 0, w, h, 0, 0, w, h);
    pen.globalCompositeOperation = "difference";
    pen.drawImage(video, second() * w, 0, w, h, 0, 0, w, h);
    pen.globalCompositeOperation = "lighter";
    for (let i = 0; i < 2; i++) pen.drawImage(canvas, 0, 0);
  }
  const frame = frameNow();
  if (!dragging) find(".place").value = frame;
  find(".told").textContent = `${frame + 1} / ${shown.frames}`;
  find(".play").textContent = video.paused ? "▶" : "❚❚";
}

function arrange() {
  const view = find(".view").value, names = find(".names"), several = shown.names.length > 2;
  find(".wipe").hidden = view !== "wipe";
  find(".which").hidden = view === "side" || !several;
  const told = view === "side" ? shown.names
    : view === "wipe" ? [`${shown.names[0]}  |  ${shown.names[second()]}`]
    : [`${shown.names[0]} less ${shown.names[second()]}`];
  names.replaceChildren(...told.map((name) => Object.assign(document.createElement("span"), { textContent: name })));
  names.style.gridTemplateColumns = `repeat(${told.length}, 1fr)`;
  canvas.setAttribute("aria-label", told.join(", "));
  draw();
}

function go(frame) {
  video.pause();
  const last = shown.frames - 1;
  video.currentTime = (Math.max(0, Math.min(last, frame)) + 0.5) / shown.fps;
}

function show(value) {
  section.hidden = !value;
  if (!value || (shown && value.source === shown.source)) return;
  const playing = !shown || !video.paused, when = shown ? video.currentTime : 0;
  shown = value;
  find(".place").max = value.frames - 1;
  find(".which").replaceChildren(...value.names.slice(1).map((name, i) =>
    Object.assign(document.createElement("option"), { value: i + 1, textContent: name })));
  for (const name of [".play", ".back", ".forth", ".place", ".told"]) find(name).hidden = value.frames < 2;
  video.src = value.source;
  video.onloadeddata = () => {
    video.currentTime = Math.min(when, video.duration || 0);
    arrange();
    if (playing && value.frames > 1) video.play().catch(() => draw());
  };
}

const wipeTo = (event) => {
  const box = canvas.getBoundingClientRect();
  find(".wipe input").value = Math.round(1000 * (event.clientX - box.left) / box.width);
  draw();
};
canvas.addEventListener("pointerdown", (event) => {
  if (find(".view").value !== "wipe") return;
  canvas.setPointerCapture(event.pointerId); wipeTo(event);
});
canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) wipeTo(event); });
const toggle = () => { video.paused ? video.play().catch(() => draw()) : video.pause(); };
find(".play").addEventListener("click", toggle);
find(".back").addEventListener("click", () => go(frameNow() - 1));
find(".forth").addEventListener("click", () => go(frameNow() + 1));
find(".place").addEventListener("input", (event) => { dragging = true; go(Number(event.target.value)); });
find(".place").addEventListener("change", () => { dragging = false; });
find(".wipe input").addEventListener("input", draw);
find(".view").addEventListener("change", arrange);
find(".which").addEventListener("change", arrange);
section.addEventListener("keydown", (event) => {
  if (event.target !== section) return;
  if (event.key === " ") toggle();
  else if (event.key === "ArrowLeft") go(frameNow() - 1);
  else if (event.key === "ArrowRight") go(frameNow() + 1);
  else return;
  event.preventDefault();
});
for (const name of ["seeked", "pause", "play"]) video.addEventListener(name, draw);
(function tick() {
  if (!element.isConnected) return;
  if (shown && !video.paused) draw();
  requestAnimationFrame(tick);
})();
watch("value", () => show(props.value));
show(props.value);
