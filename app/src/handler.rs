use std::{
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use futures_lite::FutureExt;

use crate::{AnyContext, Context, Error, FromBody, FromContext, IntoNothing, IntoReply, hook::Hooks};

/// An async function that handles messages: arguments that can be taken [from the context](FromContext), a body in the
/// last place if it wants one, and a result that fits how it is registered.
///
/// `M` is made up by the compiler, from the arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler for a state of type `{S}`",
    label = "not a handler",
    note = "a handler is an `async fn` of up to eight arguments: `State<T>`, `Session`, `Server`, `Rpc`, `UserId`, `Route`, `RequestId`, `Deadline`, `Peer`, `Extension<T>`, `Context`, then at most one body (`Json<T>`, `Protobuf<T>`, `Raw`) as the last",
    note = "its future has to be `Send`: hold no `Rc` and no lock guard across an `.await`"
)]
pub trait Handler<M, S, C = Context>: Send + Sync + 'static {
    /// What it returns.
    type Output: Send;

    /// What is read of the message before the hooks run.
    type Decoded: Send;

    /// The call.
    type Future: Future<Output = Self::Output> + Send + 'static;

    /// The serializer that its body belongs to; `None` goes with any.
    const FORMAT: Option<&'static str>;

    /// Reads the body: one that cannot be read is refused before any hook runs.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn decode(context: &C) -> Result<Self::Decoded, Error>;

    /// Takes the other arguments from the message and calls the function.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn call(&self, decoded: Self::Decoded, context: &C, state: &S) -> Result<Self::Future, Error>;
}

/// The last argument of a handler: a body, or one more thing from the context.
///
/// `M` tells which of the two, so that the compiler finds the one that applies.
pub trait LastArgument<M, S, C = Context>: Sized + Send {
    /// What is read before the hooks run.
    type Decoded: Send;

    /// The serializer that it belongs to; `None` goes with any.
    const FORMAT: Option<&'static str>;

    /// Before the hooks: a body that cannot be read is refused first.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn decode(context: &C) -> Result<Self::Decoded, Error>;

    /// After the hooks.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn finish(decoded: Self::Decoded, context: &C, state: &S) -> Result<Self, Error>;
}

/// The last argument is a body.
#[derive(Debug)]
#[non_exhaustive]
pub struct ViaBody;

/// The last argument comes from the context.
#[derive(Debug)]
#[non_exhaustive]
pub struct ViaContext;

impl<T: FromBody, S, C: AnyContext> LastArgument<ViaBody, S, C> for T {
    type Decoded = T;

    const FORMAT: Option<&'static str> = T::FORMAT;

    fn decode(context: &C) -> Result<T, Error> {
        T::from_body(context.body()).map_err(|error| Error::new(Error::BAD_REQUEST, error.message().to_owned()))
    }

    fn finish(decoded: T, _context: &C, _state: &S) -> Result<Self, Error> {
        Ok(decoded)
    }
}

impl<T: FromContext<S, C>, S, C: AnyContext> LastArgument<ViaContext, S, C> for T {
    type Decoded = ();

    const FORMAT: Option<&'static str> = None;

    fn decode(_context: &C) -> Result<(), Error> {
        Ok(())
    }

    fn finish((): (), context: &C, state: &S) -> Result<Self, Error> {
        T::from_context(context, state)
    }
}

macro_rules! handler {
    ($($argument:ident)* ; $last:ident) => {
        #[diagnostic::do_not_recommend]
        #[allow(non_snake_case, reason = "arguments are named after their types")]
        impl<Function, Fut, Output, S, In, M, $($argument,)* $last> Handler<(M, $($argument,)* $last,), S, In> for Function
        where
            Function: Fn($($argument,)* $last) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Output> + Send + 'static,
            Output: Send + 'static,
            In: AnyContext,
            $($argument: FromContext<S, In>,)*
            $last: LastArgument<M, S, In>,
        {
            type Output = Output;
            type Decoded = $last::Decoded;
            type Future = Fut;

            const FORMAT: Option<&'static str> = $last::FORMAT;

            fn decode(context: &In) -> Result<Self::Decoded, Error> {
                $last::decode(context)
            }

            fn call(&self, decoded: Self::Decoded, context: &In, state: &S) -> Result<Fut, Error> {
                $(let $argument = $argument::from_context(context, state)?;)*
                let $last = $last::finish(decoded, context, state)?;
                Ok(self($($argument,)* $last))
            }
        }
    };
}

impl<Function, Fut, Output, S, C> Handler<((),), S, C> for Function
where
    Function: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Output> + Send + 'static,
    Output: Send + 'static,
{
    type Output = Output;
    type Decoded = ();
    type Future = Fut;

    const FORMAT: Option<&'static str> = None;

    fn decode(_context: &C) -> Result<(), Error> {
        Ok(())
    }

    fn call(&self, (): (), _context: &C, _state: &S) -> Result<Fut, Error> {
        Ok(self())
    }
}

handler!(; A);
handler!(A; B);
handler!(A B; C);
handler!(A B C; D);
handler!(A B C D; E);
handler!(A B C D E; F);
handler!(A B C D E F; G);
handler!(A B C D E F G; H);

pub(crate) type Reply = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

/// A handler whose types are forgotten.
pub(crate) type ErasedHandler<C> = Box<dyn Fn(C) -> Reply + Send + Sync>;

/// A handler that waits for the state and the hooks of the app that it becomes part of.
pub(crate) type UnboundHandler<S, C> = Box<dyn FnOnce(Arc<S>, Arc<Hooks<C>>) -> ErasedHandler<C> + Send>;

pub(crate) fn request<M: 'static, S: Send + Sync + 'static, C: AnyContext, H>(handler: H) -> UnboundHandler<S, C>
where
    H: Handler<M, S, C>,
    H::Output: IntoReply,
{
    erase(handler, H::Output::into_reply)
}

pub(crate) fn notify<M: 'static, S: Send + Sync + 'static, H>(handler: H) -> UnboundHandler<S, Context>
where
    H: Handler<M, S>,
    H::Output: IntoNothing,
{
    erase(handler, |output| output.into_nothing().map(|()| Bytes::new()))
}

/// Without hooks nothing but the handler's own future is boxed, and no count that all connections share is touched.
fn erase<M: 'static, S: Send + Sync + 'static, C: AnyContext, H: Handler<M, S, C>>(
    handler: H,
    finish: fn(H::Output) -> Result<Bytes, Error>,
) -> UnboundHandler<S, C> {
    Box::new(move |state: Arc<S>, hooks: Arc<Hooks<C>>| {
        if hooks.is_empty() {
            return Box::new(move |context| {
                match H::decode(&context).and_then(|decoded| handler.call(decoded, &context, &state)) {
                    Ok(running) => Box::pin(async move { finish(running.await) }),
                    Err(error) => Box::pin(ready(Err(error))),
                }
            });
        }
        let handler = Arc::new(handler);
        Box::new(move |context| {
            let (handler, state, hooks) = (Arc::clone(&handler), Arc::clone(&state), Arc::clone(&hooks));
            Box::pin(async move {
                let decoded = H::decode(&context)?;
                let context = hooks.before(context).await?;
                let called = async { Ok(finish(handler.call(decoded, &context, &state)?.await)) };
                let result = catch_handler(called).await?;
                hooks.after(context, result).await
            })
        })
    })
}

/// A panic of a handler is told to the after hooks as any other error of it.
async fn catch_handler(
    called: impl Future<Output = Result<Result<Bytes, Error>, Error>>,
) -> Result<Result<Bytes, Error>, Error> {
    AssertUnwindSafe(called).catch_unwind().await.unwrap_or_else(|panic| {
        let error = Error::panicked(&*panic);
        tracing::error!(%error, "a handler panicked");
        Ok(Err(error))
    })
}
