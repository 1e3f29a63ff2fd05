// Compare with an earlier session: the runner's own file is read here in the browser and goes nowhere.
const status = document.getElementById("compared");
const table = document.getElementById("numbers");

document.getElementById("print").addEventListener("click", () => window.print());
document.getElementById("earlier").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  try {
    const earlier = JSON.parse(await file.text());
    if (typeof earlier?.metrics !== "object" || !String(earlier.schema).startsWith("hipline.session/")) throw new Error("schema");
    show(earlier);
    status.textContent = `${status.dataset.done} ${String(earlier.start ?? "").slice(0, 10)}`;
  } catch {
    status.textContent = status.dataset.wrong;
  }
});

function show(earlier) {
  table.querySelectorAll(".earlier").forEach((cell) => cell.remove());
  const title = document.createElement("th");
  title.scope = "col";
  title.className = "earlier";
  title.textContent = String(earlier.start ?? "–").slice(0, 10);
  table.tHead.rows[0].append(title);
  for (const row of table.tBodies[0].rows) {
    const cell = row.insertCell();
    cell.className = "earlier";
    const median = earlier.metrics[row.dataset.name]?.median;
    const digits = (row.cells[1].textContent.match(/[.](\d+)/)?.[1] ?? "").length;
    cell.textContent = Number.isFinite(median) ? median.toFixed(digits).replace("-", "−") : "–";
  }
}
