// The string table: one JSON file a language. t("chip.idle") is a text, t("facts", {time}) fills {time}.
let table = {};

export async function loadStrings(language) {
  const answer = await fetch(`/static/strings/${language}.json`);
  table = await answer.json();
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
}

export function find(group, key) {
  const value = table[group]?.[key];
  return typeof value === "string" ? value : undefined;
}

export function t(path, values = {}) {
  let text = path.split(".").reduce((node, key) => node?.[key], table);
  if (typeof text !== "string") text = path;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// A name the table does not know is shown as words: a newer station may say something this page has never heard of.
export function words(group, key) {
  return find(group, key) ?? String(key).replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());
}
