// Runs scenarios side by side and prints what each returned, or the SDK's own class of the error that it threw.
export async function report(scenarios, sdk) {
  const classes = Object.entries(sdk).filter(([name]) => name.endsWith('Error'));
  const outcomes = await Promise.all(
    Object.entries(scenarios).map(async ([name, run]) => {
      try {
        return [name, { value: await run() }];
      } catch (thrown) {
        // An error is an instance of its own class and of those above it; its own has none of the others below.
        const own = classes.find(([, cls]) => thrown.constructor === cls);
        const error = { class: own?.[0] ?? thrown.constructor.name, message: thrown.message };
        return [name, { error: { ...error, status: thrown.status ?? null, type: thrown.type ?? null, code: thrown.code ?? null } }];
      }
    }),
  );
  process.stdout.write(JSON.stringify(Object.fromEntries(outcomes)));
}
