"use strict";
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const element = (name) => document.getElementById("viewer-" + name);
  const LAYERS = {
    alpha: "alpha", error: "error of alpha", composite: "composite on green",
    background_restored: "restored background", flow: "optical flow",
  };
  const GREEN = [120, 255, 155], NOISE = 8, FRAMES_PER_SECOND = 12;
  const pictures = new Map();
  let clip, timer = 0;

  const fill = (select, options) => {
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  };
  const load = (uri) => {
    if (!uri) return Promise.resolve(null);
    if (!pictures.has(uri)) {
      const image = new Image();
      image.src = uri;
      pictures.set(uri, image.decode().then(() => image, () => null));
    }
    return pictures.get(uri);
  };

  // The pixels of one frame of a sheet, whose frames stand in a row.
  const pixels = (sheet, frame) => {
    const width = sheet.width / clip.frames, canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = sheet.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(sheet, frame * width, 0, width, sheet.height, 0, 0, width, sheet.height);
    return context.getImageData(0, 0, width, sheet.height);
  };
  const combine = (base, alpha, each) => {
    const out = new ImageData(base.width, base.height);
    for (let i = 0; i < out.data.length; i += 4) {
      each(base.data, alpha.data, i, out.data);
      out.data[i + 3] = 255;
    }
    return out;
  };
  const onGreen = (frame, alpha) => combine(frame, alpha, (rgb, matte, i, out) => {
    for (let c = 0; c < 3; c++) out[i + c] = (rgb[i + c] * matte[i] + GREEN[c] * (255 - matte[i])) / 255;
  });
  // Red: alpha too high, blue: too low, on a faint picture of the true matte.
  const errorOf = (truth, alpha) => combine(truth, alpha, (real, matte, i, out) => {
    const difference = matte[i] - real[i], size = Math.abs(difference) < NOISE ? 0 : Math.abs(difference);
    const grey = 225 - real[i] / 4;
    out[i] = difference > 0 ? grey + (255 - grey) * size / 255 : grey * (1 - size / 255);
    out[i + 1] = grey * (1 - size / 255);
    out[i + 2] = difference < 0 ? grey + (255 - grey) * size / 255 : grey * (1 - size / 255);
  });

  const source = async (name) => load(clip.layers[name]);
  const panes = async (frame, layer) => {
    const [input, truth, background] = await Promise.all(["frame", "alpha_true", "background_true"].map(source));
    const show = (sheet) => sheet && pixels(sheet, frame);
    const found = [["input", show(input)]];
    if (layer === "background_restored") found.push(["true background", show(background)]);
    else if (layer === "composite") found.push(["true alpha on green", input && truth && onGreen(show(input), show(truth))]);
    else found.push(["true alpha", show(truth)]);
    for (const [place, arm] of clip.arms.entries()) {
      const matte = await load(arm.layers.alpha_pred);
      let shown = null;
      if (layer === "alpha") shown = show(matte);
      else if (layer === "error") shown = matte && truth && errorOf(show(truth), show(matte));
      else if (layer === "composite") shown = matte && input && onGreen(show(input), show(matte));
      else shown = show(await load(arm.layers[layer]));
      found.push([`${data.arms[place]} (${arm.error})`, shown]);
    }
    return found;
  };
  const wiped = (left, right) => {
    const out = new ImageData(left.width, left.height), border = left.width * element("border").value / 100;
    for (let i = 0; i < out.data.length; i++) {
      const x = (i >> 2) % left.width;
      out.data[i] = (x < border ? left : right).data[i];
    }
    return out;
  };
  const pane = ([label, image], wide) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    caption.textContent = image ? label : `${label}: none`;
    if (image) {
      canvas.width = image.width;
      canvas.height = image.height;
      canvas.getContext("2d").putImageData(image, 0, 0);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${label}, frame ${element("frame").value}`);
      figure.append(canvas);
    }
    figure.className = wide ? "wide-pane" : "";
    figure.append(caption);
    return figure;
  };

  let drawing = 0;
  const draw = async () => {
    const turn = ++drawing, frame = Number(element("frame").value);
    const found = await panes(frame, element("layer").value);
    if (turn !== drawing) return; // a later one overtook it
    const over = element("mode").value === "over";
    element("wipe").hidden = !over;
    if (over) {
      const [left, right] = ["left", "right"].map((side) => found[Number(element(side).value)] || found[1]);
      const both = left[1] && right[1] ? wiped(left[1], right[1]) : null;
      element("panes").replaceChildren(pane([`${left[0]} | ${right[0]}`, both], true));
    } else {
      element("panes").replaceChildren(...found.map((one) => pane(one, false)));
    }
    element("place").textContent = `frame ${frame} of 0 to ${clip.frames - 1}`;
  };
  const choose = (place) => {
    clip = data.clips[place];
    element("frame").max = clip.frames - 1;
    element("frame").value = Math.min(element("frame").value, clip.frames - 1);
    const known = Object.keys(LAYERS).filter((name) =>
      !["background_restored", "flow"].includes(name) || clip.arms.some((arm) => arm.layers[name]));
    const before = element("layer").value;
    fill(element("layer"), known.map((name) => [name, LAYERS[name]]));
    if (known.includes(before)) element("layer").value = before;
    draw();
  };
  const chooseCondition = () => {
    const clips = data.clips.map((one, place) => [place, one]).filter(([, one]) => one.condition === element("condition").value);
    fill(element("clip"), clips.map(([place, one]) => [place, `${one.choice}: ${one.name}`]));
    choose(Number(element("clip").value));
  };
  const step = (by) => {
    const frames = clip.frames;
    element("frame").value = (Number(element("frame").value) + by + frames) % frames;
    draw();
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => step(1), 1000 / FRAMES_PER_SECOND) : 0;
    element("play").textContent = on ? "Pause" : "Play";
    element("play").setAttribute("aria-pressed", String(on));
  };
  const nextClip = (by) => {
    const place = (data.clips.indexOf(clip) + by + data.clips.length) % data.clips.length;
    element("condition").value = data.clips[place].condition;
    chooseCondition();
    element("clip").value = place;
    choose(place);
  };

  fill(element("condition"), [...new Set(data.clips.map((one) => one.condition))].map((name) => [name, name]));
  const names = ["input", "truth", ...data.arms].map((name, place) => [place, name]);
  fill(element("left"), names);
  fill(element("right"), names);
  element("left").value = Math.min(2, names.length - 1);
  element("right").value = names.length - 1;
  element("condition").addEventListener("change", chooseCondition);
  element("clip").addEventListener("change", () => choose(Number(element("clip").value)));
  element("frame").addEventListener("input", draw);
  for (const name of ["layer", "mode", "left", "right", "border"]) element(name).addEventListener("input", draw);
  element("play").addEventListener("click", () => play(!timer));
  const section = document.getElementById("viewer");
  document.addEventListener("keydown", (event) => {
    const typed = event.target.closest("input, select, button, summary, a");
    if (typed || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = section.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) return; // the page scrolls as ever where the viewer is not seen
    const does = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => nextClip(-1), ArrowDown: () => nextClip(1),
      " ": () => play(!timer),
    }[event.key];
    if (does) {
      event.preventDefault();
      does();
    }
  });
  element("panes").addEventListener("pointermove", (event) => {
    const canvas = event.target.closest(".wide-pane canvas");
    if (!canvas || !event.buttons) return;
    const box = canvas.getBoundingClientRect();
    element("border").value = 100 * (event.clientX - box.left) / box.width;
    draw();
  });
  section.hidden = false;
  document.getElementById("still-mattes")?.setAttribute("hidden", "");
  chooseCondition();
})();
