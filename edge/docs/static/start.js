"use strict";

// Swagger UI has a dark form, chosen by a class.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  requestSnippetsEnabled: true,
  tryItOutEnabled: true,
  // A key stays in the page's memory, and the document is sent to nobody.
  persistAuthorization: false,
  validatorUrl: null,
  onComplete: () => {
    document.title = `${ui.specSelectors.info().get("title")} API`;
  },
});
