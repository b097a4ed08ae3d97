// Figures in words, and elements.

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, "0"));
  return whole < 3600 ? parts.join(":").replace(/^0/, "") : `${Math.floor(whole / 3600)}:${parts.join(":")}`;
}

export function lasting(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 5970 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function size(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Number((bytes / 1e9).toFixed(2))} GB`;
}

// The value of text such as "30000/1001", as JSON has fractions.
export function fraction(text) {
  const [above, below = 1] = String(text).split("/");
  return above / below;
}

export const percent = (share) => `${Math.round(100 * share)} %`;

// An element with attributes (on... are listeners) and children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Fills a list of terms.
export function describe(list, rows) {
  list.replaceChildren(...rows.flatMap(([term, words]) => [element("dt", {}, term), element("dd", {}, words)]));
}

// A colour that is the same for the same label, light enough for dark letters.
export function hue(label) {
  let sum = 0;
  for (const sign of label) sum = (sum * 31 + sign.codePointAt(0)) % 360;
  return `hsl(${(sum * 47) % 360} 75% 70%)`;
}

export const at = (id) => document.getElementById(id);
