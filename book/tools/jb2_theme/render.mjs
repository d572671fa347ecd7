// Each page of a Jupyter Book 2 build as plain HTML. Formulas and code arrive as HTML, references resolved.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const { BUILD_DIRECTORY: out, CONTENT_CDN: source } = process.env;
const get = async (path) => (await fetch(`${source}${path}`)).json();
const escape = (text = "") => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const TAGS = {
  paragraph: "p", strong: "strong", emphasis: "em", list: "ul", listItem: "li", blockquote: "blockquote", table: "table",
  tableRow: "tr", tableCell: "td", container: "figure", caption: "figcaption", admonition: "aside", admonitionTitle: "strong",
  definitionList: "dl", definitionTerm: "dt", definitionDescription: "dd", exercise: "aside", solution: "details",
};

function html(node) {
  const inner = () => (node.children ?? []).map(html).join("");
  const id = node.html_id ? ` id="${escape(node.html_id)}"` : "";
  if (node.type === "text") return escape(node.value);
  if (node.type === "heading") return `<h${node.depth + 1}${id}>${inner()}</h${node.depth + 1}>`;
  if (node.type === "math" || node.type === "inlineMath") return `<span${id}>${node.html ?? escape(node.value)}</span>`;
  if (node.type === "code") return node.visibility === "remove" ? "" : `<pre><code>${escape(node.value)}</code></pre>`;
  if (node.type === "inlineCode") return `<code>${escape(node.value)}</code>`;
  if (node.type === "image") return `<img src="${escape(node.url)}" alt="${escape(node.alt)}">`;
  if (node.type === "link") return `<a href="${escape(/^\/\w/.test(node.url) ? `.${node.url}.html` : node.url)}">${inner()}</a>`;
  if (node.type === "comment" || node.visibility === "remove") return "";
  const tag = TAGS[node.type] ?? (node.children ? "div" : "");
  return tag ? `<${tag}${id}>${inner()}</${tag}>` : escape(node.value);
}

const { projects, title } = await get("/config.json");
const slugs = [projects[0].index, ...projects[0].pages.map((page) => page.slug).filter(Boolean)];
mkdirSync(out, { recursive: true });
for (const slug of slugs) {
  const page = await get(`/content/${slug}.json`);
  const name = page.frontmatter.title ?? title;
  const body = `<h1>${escape(name)}</h1>${html(page.mdast)}`;
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(name)}</title>`;
  writeFileSync(join(out, `${slug}.html`), `<!doctype html><html lang="en"><head>${head}</head><body>${body}</body></html>`);
}
console.log(`${slugs.length} pages`);
