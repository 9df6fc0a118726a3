"""The programs of `facts.py`: each line of a group is one program (`\n` inside a program separates its statements)."""

from __future__ import annotations

READ = r"""x[0]
x[1, 2]
x[1, 2, 3]
x[-1]
x[0:1]
x[:, 1]
x[:, 1:3]
x[..., 0]
x[..., 1:]
x[:, :, ::2]
x[::-1]
x[:, ::-1, 1]
x[1, ::2]
x[None]
x[:, None, 1]
x[0, None, :, 2]
x[[0, 1]]
x[[1, 1, 0]]
x[:, [0, 2]]
x[[0, 1], [1, 2]]
x[[0, 1], :, [1, 2]]
x[nd.array([1, 0])]
x[nd.array([1, 0], dtype='int32')]
x[np.array([1, 0])]
x[np.array([[0, 1], [1, 0]])]
x[:, np.array([0, 2]), 1]
x[(0, 1)]
x[()]
x[:]
x[0:0]
x[5]
x[0, 5]
x[-3]
x[0, 0, 0, 0]
x[1.5]
v[2]
v[-1]
v[1:4:2]
v[4:1:-1]
v[10:20]
v[nd.array([1, 0, 1, 0, 1])]
v[[True, False, True, False, True]]
v[np.array([True, False, True, False, True])]
m[1][2]
m[0, 1].shape
m[0].shape
m[0:1].shape
m[nd.array([0]), nd.array([2])]
m[[0, 1], nd.array([2, 0])]
m[np.int64(1)]
m[1, np.int32(0)]
x[True]
list(v[1:3].asnumpy())
len(x)
[row.shape for row in x]
x.slice(begin=(0, 1), end=(2, 3))
x.slice_axis(axis=2, begin=0, end=2)
x.take(nd.array([1, 0]))
m.pick(nd.array([0, 2]))
'q' in {'q': m}
x['a']"""

WRITE = r"""x[0] = 7\nx
x[1, 2] = -1\nx
x[1, 2, 3] = 5\nx
x[:] = 3\nx
x[:, 1] = nd.array([9, 8, 7, 6])\nx
x[:, 1:3] = 0\nx
x[..., 0] = -1\nx
x[:, ::2] = 4\nx
x[::-1] = nd.arange(24).reshape((2, 3, 4))\nx
x[[0, 1], [1, 2]] = 50\nx
x[[1]] = 2\nx
x[:, [0, 2], 1] = nd.array([[1, 2], [3, 4]])\nx
x[nd.array([1])] = 6\nx
x[0] = np.ones((3, 4)) * 2\nx
x[0] = [[1, 2, 3, 4]] * 3\nx
x[0] = nd.ones((4,))\nx
x[0] = nd.ones((5,))\nx
x[5] = 1\nx
x[:] = nd.ones((3, 4))\nx
v[1:3] = nd.array([20, 30])\nv
v[-1] = 9\nv
v[2] = 2.75\nv
v[:] = np.arange(5)\nv
v[:] = nd.array([1, 2, 3, 4, 5], dtype='int32')\nv
a = v[1:3]\na[:] = 0\nv
a = v[1:3]\nv[1] = 77\na
a = v[::2]\na[:] = 0\nv
a = x[1]\na[0] = 0\nx
a = x[:, 1]\na[:] = 0\nx
a = x.reshape((6, 4))\na[0] = 100\nx
a = x.reshape((-1,))\na += 1\nx
a = x.T\na[:] = 0\nx
a = x[0][1]\na[:] = 5\nx
a = v.expand_dims(0)\na[:] = 0\nv
a = x.copy()\na[:] = 0\nx
b = nd.zeros((5,), dtype='int32')\nb[1:3] = 2.9\nb
v += 1\nv
v *= nd.array([2, 2, 2, 2, 0])\nv
v -= 0.5\nv
v /= 2\nv
v **= 2\nv
v %= 3\nv
b = v\nb += 1\nv
m += nd.array([1, 2, 3])\nm
m[0] += 10\nm
m[m > 0] = 0\nm
b = nd.zeros((2, 3))\nm.copyto(b)\nb
nd.zeros((2, 3), dtype='float64')[:] + m.astype('float64')
v[1:3] = [7]\nv
v[0:0] = 1\nv
x[0, :, 1:3] = nd.array([[1, 2]])\nx"""

ARITHMETIC = r"""v + 1
1 + v
v - 1
10 - v
v * 3
v / 2
6 / v
v % 3
7 % v
v ** 2
2 ** v
-v
abs(m)
v // 2
v + m
m + nd.array([1, 2, 3])
m * nd.array([[2], [3]])
m + np.array([1, 2, 3])
m + [1, 2, 3]
m > 0
m >= 3
m < 0
m <= 5
m == 3
m != 3
m == None
m != None
3 > v
v == v
nd.array([1, 2], dtype='int32') + 1
nd.array([1, 2], dtype='int32') * 0.5
nd.array([1, 2, 3], dtype='int32') / 2
nd.array([1, 2], dtype='int32') + 1.7
nd.array([7, -7], dtype='int32') % 3
nd.array([1, 2], dtype='int32') ** 2
nd.array([1, 2], dtype='int32') + nd.array([1.5, 2])
nd.array([1, 2], dtype='int64') > 1
nd.array([200], dtype='uint8') + 100
nd.array([1], dtype='float16') + nd.array([1], dtype='float64')
nd.array([1, 0], dtype='float16') * 2
v & 1
~v
bool(nd.array([0]))
bool(nd.array([2]))
bool(v)
float(nd.array([2.5]))
int(nd.array([2.5]))
float(v)
nd.array([1, 2, 3])[nd.array([2])].asscalar()
v.asscalar()
nd.maximum(v, 3)
nd.maximum(3, v)
nd.minimum(v, 2.5)
nd.power(2, v)
nd.power(v, 2)
nd.modulo(v, 2)
nd.add(v, 1)
nd.subtract(10, v)
nd.divide(v, 2)
nd.equal(v, 2)
nd.greater(v, 2)
nd.logical_and(v, 0)
nd.true_divide(v, 2)
nd.dot(m, m.T)
nd.dot(x, nd.ones((4, 2))).shape
m + nd.ones((2,))
nd.elemwise_add(m, nd.ones((1, 3)))
nd.add_n(m, m, m)
v.__neg__()
nd.array([5.0]) ** nd.array([2])
divmod(7, 2)
nd.NDArray.__name__
type(m.asnumpy()).__name__"""

METHODS = r"""m.shape
m.size
m.ndim
m.dtype
m.context == mx.cpu()
str(m.context)
m.stype
m.T
x.T.shape
m.sum()
m.sum().shape
m.sum(axis=0)
m.sum(axis=1, keepdims=True)
m.mean()
m.max()
m.min(axis=1)
m.prod(axis=0)
m.norm()
m.argmax(axis=1)
m.argmin(axis=0)
m.argsort()
m.sort()
m.topk(k=2)
m.clip(0, 3)
m.abs()
m.sign()
m.square()
m.exp().log()
m.relu()
m.sigmoid()
m.tanh()
m.softmax()
m.log_softmax()
m.round()
m.floor()
m.transpose()
m.transpose((1, 0))
m.transpose(1, 0)
x.swapaxes(0, 2).shape
m.reshape(3, 2)
m.reshape((3, 2))
m.reshape(-1)
m.reshape((-1, 1)).shape
m.reshape(shape=(0, -1)).shape
x.reshape((0, -3)).shape
x.reshape((-3, 0)).shape
x.reshape((-1, 0), reverse=True).shape
m.reshape((4, 2))
m.reshape(())
m.flatten().shape
x.flatten().shape
m.expand_dims(0).shape
m.expand_dims(axis=-1).shape
nd.ones((1, 3, 1)).squeeze().shape
m.tile((2, 1)).shape
m.repeat(2, axis=0)
m.repeat(repeats=2)
m.flip(axis=1)
m.pad(mode='constant', pad_width=(0, 0, 0, 0, 1, 1))
m.broadcast_to((2, 3)).shape
nd.ones((1, 3)).broadcast_to((2, 3)).shape
nd.ones((1, 3)).broadcast_like(m).shape
m.one_hot(3).shape
nd.array([0, 2]).one_hot(3)
m.split(num_outputs=3, axis=1)
m.split(3, axis=1)[0].shape
m.zeros_like()
m.ones_like()
m.astype('int32')
m.astype(np.float64).dtype
m.astype('float32', copy=False) is m
m.copy() is m
m.as_in_context(mx.cpu()) is m
m.detach().shape
m.asnumpy().dtype
m.tolist()
v.item(0)
m.std()
m.mean(axis=0, exclude=True)
m.nansum()
m.slice_like(nd.ones((1, 2)))
m.reshape_like(nd.ones((3, 2))).shape
m.diag()
m.shape_array()
m.size_array()
m.wait_to_read()
m.as_nd_ndarray().shape
m.as_np_ndarray().shape
m.grad
m.attach_grad()\nm.grad
m.ravel()
repr(v)
repr(m)
str(nd.array([1], dtype='int32'))
repr(nd.array(5))
repr(nd.zeros((0,)))
m.tostype('default').shape
m.to_dlpack_for_read().__class__.__name__
m.foo
m.gamma().shape
m.depth_to_space(block_size=1)
m.broadcast_axes(axis=0, size=2)"""

CREATION = r"""nd.array([1, 2, 3])
nd.array([1, 2, 3]).dtype
nd.array(np.array([1, 2, 3])).dtype
nd.array(np.array([1.5], dtype='float64')).dtype
nd.array(np.array([1], dtype='uint8')).dtype
nd.array(np.array([True])).dtype
nd.array(nd.array([1], dtype='int32')).dtype
nd.array([1, 2], dtype='int32')
nd.array([1.7], dtype='int32')
nd.array(5)
nd.array(5).shape
nd.array([])
nd.array([[1, 2], [3]])
nd.array([nd.array([1]), nd.array([2])])
nd.zeros(3)
nd.zeros((2, 3), dtype='int32')
nd.zeros((2,), mx.cpu())
nd.zeros(())
nd.ones((2, 2)).dtype
nd.full((2,), 7)
nd.empty((2, 3)).shape
nd.arange(3)
nd.arange(1, 7, 2)
nd.arange(3).dtype
nd.arange(2, repeat=3)
nd.arange(0, 1, 0.25)
nd.eye(2)
nd.eye(3, 2, 1)
nd.linspace(0, 1, 5)
nd.zeros_like(m)
nd.ones_like(nd.array([1], dtype='int32')).dtype
nd.concat(m, m, dim=0).shape
nd.concat(m, m).shape
nd.concatenate([m, m], axis=1).shape
nd.stack(m, m, axis=0).shape
nd.moveaxis(x, 0, 2).shape
nd.histogram(v, bins=2, range=(0, 5))
nd.random.uniform(shape=(2, 3)).shape
nd.random.uniform(0, 1).shape
nd.random.normal(0, 1, (2,)).dtype
nd.random.normal(loc=nd.array([0, 10]), scale=nd.array([1, 1]), shape=(3,)).shape
nd.random.randint(0, 5, (4,)).dtype
nd.random.randn(2, 3).shape
nd.random.gamma(2, 1, shape=(2,)).shape
nd.random.exponential(1.0, shape=(2,)).shape
nd.random.poisson(2, shape=(3,)).dtype
nd.random.negative_binomial(3, 0.5, shape=(2,)).shape
nd.random.generalized_negative_binomial(2, 0.5, shape=(2,)).shape
nd.random.multinomial(nd.array([0, 1, 0]))
nd.random.multinomial(nd.array([[0, 1], [1, 0]]), shape=3)
nd.random.multinomial(nd.array([0, 1, 0]), shape=2, get_prob=True)
nd.random.multinomial(nd.array([0, 1, 0])).dtype
sorted(nd.random.shuffle(v).asnumpy().tolist())
nd.random_uniform(shape=(2,)).shape
nd.sample_uniform(nd.array([0, 10]), nd.array([1, 11]), shape=(4,)).shape
nd.sample_normal(nd.array([0, 10]), nd.array([1, 1])).shape
nd.random.uniform_like(m).shape
nd.random.normal(0, -1, (2,)).asnumpy()
nd.random.uniform(1, 1, (2,))
nd.random.uniform(low=nd.array([0, 2]), high=nd.array([0, 2]), shape=(2,))
mx.random.seed(3)\na = nd.random.uniform(shape=(3,))\nmx.random.seed(3)\n(a == nd.random.uniform(shape=(3,))).asnumpy().tolist()
nd.from_numpy(np.ones((2, 2), dtype='float32')).shape
mx.nd.waitall()
nd.array([1, 2]).context == mx.cpu(0)
mx.cpu() == mx.cpu(0)
mx.cpu() == mx.cpu(1)
str(mx.gpu(1))
repr(mx.cpu())
mx.cpu().device_type
mx.cpu(2).device_id
str(mx.current_context())
with mx.Context('cpu', 1):\n    c = str(mx.current_context())\nc
nd.zeros((1,), ctx=mx.cpu(1)).context == mx.cpu(1)
(nd.zeros((1,), ctx=mx.cpu(1)) + 1).context == mx.cpu(1)
nd.zeros((1,), ctx=mx.cpu(1)) + nd.zeros((1,), ctx=mx.cpu(0))
mx.context.num_gpus() >= 0
mx.Context('cpu', 0) == mx.cpu()"""

AUTOGRAD = r"""v.attach_grad()\nwith autograd.record():\n    y = (v * v).sum()\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v\ny.backward(nd.array([1, 0, 2, 0, 0]))\nv.grad
v.attach_grad(grad_req='add')\nfor _ in range(3):\n    with autograd.record():\n        y = v * 2\n    y.backward()\nv.grad
v.attach_grad()\nfor _ in range(3):\n    with autograd.record():\n        y = v * 2\n    y.backward()\nv.grad
v.attach_grad()\ng = v.grad\nwith autograd.record():\n    y = v * 2\ny.backward()\n(g is v.grad, g)
v.attach_grad()\nwith autograd.record():\n    y = v * 2\ng = v.grad\ny.backward()\ng
v.attach_grad(grad_req='null')\nwith autograd.record():\n    y = v * 2\ny.backward()
v.attach_grad()\ny = v * 2\ny.backward()
y = nd.ones((2,))\nwith autograd.record():\n    z = y * 2\nz.backward()
v.attach_grad()\nwith autograd.record():\n    y = v * 2\ny.backward()\ny.backward()
v.attach_grad()\nwith autograd.record():\n    y = v * v\ny.backward(retain_graph=True)\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v\n    z = y.detach() * v\nz.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v\n    z = nd.BlockGrad(y) * v\nz.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    with autograd.pause():\n        y = v * v\n    z = y * v\nz.backward()\nv.grad
v.attach_grad()\nm.attach_grad()\nwith autograd.record():\n    a = v * 2\n    b = m * 3\nautograd.backward([a, b])\n(v.grad, m.grad)
v.attach_grad()\nwith autograd.record():\n    a = v * 2\n    b = v * 3\nautograd.backward([a, b], [nd.ones((5,)), None])\nv.grad
v.attach_grad()\nwith autograd.record():\n    a = v * 2\n    b = a * v\nautograd.backward([a, b])\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v * v\n    g = autograd.grad(y, v, create_graph=True)[0]\n    z = (g * g).sum()\nz.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * v * v\n    g = autograd.grad(y, [v], create_graph=True, retain_graph=True)[0]\n    h = autograd.grad(g, [v], create_graph=True, retain_graph=True)[0]\nh.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = nd.sin(v)\ng = autograd.grad(y, v)\n(type(g).__name__, g[0], v.grad)
v.attach_grad()\nwith autograd.record():\n    y = nd.sin(v)\ng = autograd.grad(y, [v], head_grads=nd.array([1, 2, 3, 4, 5]))\ng
v.attach_grad()\nwith autograd.record():\n    y = v * 2\n    v += 1
v.attach_grad()\nwith autograd.record():\n    y = v * 2\n    v[0] = 1
v.attach_grad()\nwith autograd.record():\n    y = v[1:3] * 2\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v[[0, 0, 2]] * 2\ny.backward()\nv.grad
x.attach_grad()\nwith autograd.record():\n    y = x[:, 1, ::2].sum()\ny.backward()\nx.grad
x.attach_grad()\nwith autograd.record():\n    y = x.reshape((6, 4)).T.sum(axis=0) * nd.arange(6)\ny.backward()\nx.grad
(autograd.is_recording(), autograd.is_training())
with autograd.record():\n    r = (autograd.is_recording(), autograd.is_training())\nr
with autograd.record(train_mode=False):\n    r = (autograd.is_recording(), autograd.is_training())\nr
with autograd.train_mode():\n    r = (autograd.is_recording(), autograd.is_training())\nr
with autograd.record():\n    with autograd.predict_mode():\n        r = (autograd.is_recording(), autograd.is_training())\nr
with autograd.record():\n    with autograd.pause():\n        r = (autograd.is_recording(), autograd.is_training())\nr
with autograd.record():\n    with autograd.pause(train_mode=True):\n        r = (autograd.is_recording(), autograd.is_training())\nr
autograd.set_recording(True)\na = autograd.is_recording()\n(autograd.set_recording(False), a)
g = nd.zeros((5,))\nautograd.mark_variables([v], [g])\nwith autograd.record():\n    y = v * 3\ny.backward()\n(v.grad, g)
class F(autograd.Function):\n    def forward(self, a, b):\n        self.save_for_backward(a, b)\n        return a * b\n    def backward(self, g):\n        a, b = self.saved_tensors\n        return g * b * 10, g * a\nv.attach_grad()\nw = nd.ones((5,)) * 2\nw.attach_grad()\nwith autograd.record():\n    y = F()(v, w)\ny.backward()\n(y, v.grad, w.grad)
class F(autograd.Function):\n    def forward(self, a):\n        return a * 2, a * 3\n    def backward(self, g, h):\n        return g * 5 + h * 7\nv.attach_grad()\nwith autograd.record():\n    y, z = F()(v)\n    t = y.sum() + 2 * z.sum()\nt.backward()\nv.grad
class F(autograd.Function):\n    def forward(self, a):\n        return (a, autograd.is_recording())[0] * 2\n    def backward(self, g):\n        return g * 2\nf = F()\nv.attach_grad()\nwith autograd.record():\n    y = f(v)\n    y = f(y)
v.attach_grad()\nwith autograd.record():\n    y = v.astype('float64') * 2\ny.backward()\n(v.grad, v.grad.dtype)
v.attach_grad()\nwith autograd.record():\n    y = nd.maximum(v, 3).sum() + nd.minimum(v, 3).sum()\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = nd.argmax(v, axis=0)\ny.backward()
v.attach_grad()\nwith autograd.record():\n    y = v.as_in_context(mx.cpu(1)) * 2\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * 2\nv.attach_grad()\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = v * 2\n    y.attach_grad()\n    z = y * 3\nz.backward()\n(v.grad, y.grad)
v.attach_grad()\nv.grad[:] = 5\nwith autograd.record():\n    y = v * 2\ny.backward()\nv.grad
v.attach_grad('add')\nv.grad[:] = 5\nwith autograd.record():\n    y = v * 2\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    a, b = nd.split(v.reshape((1, 5))[:, :4], num_outputs=2)\n    y = a * 2\ny.backward()\nv.grad
v.attach_grad()\nwith autograd.record():\n    y = nd.Dropout(v, p=0.0)\ny.backward()\nv.grad
def body(item, states):\n    s = states[0] + item\n    return s * 2, [s]\nv.attach_grad()\nwith autograd.record():\n    out, states = nd.contrib.foreach(body, v, [nd.zeros((1,))])\nout.backward()\n(out, states, v.grad)
out, states = nd.contrib.while_loop(lambda i, s: i <= 3, lambda i, s: ([i * 2], [i + 1, s + i]), [nd.array([1]), nd.array([0])], max_iterations=5)\n(out[0].shape, states)
nd.contrib.cond(nd.array([1]), lambda: v * 2, lambda: v * 3)
nd.contrib.cond(nd.array([0]), lambda: v * 2, lambda: v * 3)"""

GLUON = r"""net = nn.Dense(3)\n(net.name, net.prefix)
net = nn.Dense(3, prefix='a_')\nlist(net.collect_params())
a = nn.Dense(3)\nb = nn.Dense(3)\n(a.name, b.name)
net = nn.HybridSequential()\nnet.add(nn.Dense(2), nn.Dense(3))\nlist(net.collect_params())
net = nn.HybridSequential()\nwith net.name_scope():\n    net.add(nn.Dense(2), nn.BatchNorm(), nn.Dense(3))\nlist(net.collect_params())
net = nn.HybridSequential(prefix='')\nwith net.name_scope():\n    net.add(nn.Dense(2), nn.Dense(3))\nlist(net.collect_params())
net = nn.HybridSequential(prefix='net_')\nwith net.name_scope():\n    net.add(nn.Dense(2))\n    inner = nn.HybridSequential()\n    with inner.name_scope():\n        inner.add(nn.Conv2D(2, 3), nn.Conv2D(2, 3))\n    net.add(inner)\nlist(net.collect_params())
net = nn.HybridSequential(prefix='net_')\nwith net.name_scope():\n    net.add(nn.Dense(2), nn.Dense(3))\nlist(net.collect_params('.*weight'))
net = nn.HybridSequential(prefix='net_')\nwith net.name_scope():\n    net.add(nn.Dense(2), nn.Dense(3))\nlist(net.collect_params('net_dense0.*|net_dense1_bias'))
a = nn.Dense(2, in_units=2, prefix='s_')\nb = nn.Dense(2, in_units=2, params=a.params)\nb.initialize()\n(list(b.collect_params()), a.weight is b.weight)
net = rnn.LSTM(3, num_layers=2, bidirectional=True)\nlist(net.collect_params())
net = rnn.LSTMCell(3)\nlist(net.collect_params())
net = rnn.BidirectionalCell(rnn.LSTMCell(3), rnn.LSTMCell(3))\nlist(net.collect_params())
net = rnn.SequentialRNNCell()\nnet.add(rnn.LSTMCell(3))\nnet.add(rnn.GRUCell(2))\nlist(net.collect_params())
net = rnn.SequentialRNNCell(prefix='r_')\nwith net.name_scope():\n    net.add(rnn.LSTMCell(3))\n    net.add(rnn.GRUCell(2))\nlist(net.collect_params())
rnn.ZoneoutCell(rnn.LSTMCell(3)).name
rnn.ResidualCell(rnn.GRUCell(3, prefix='g_')).prefix
net = nn.Dense(3)\nnet.weight.shape
net = nn.Dense(3)\nnet.weight.data()
net = nn.Dense(3)\nnet.initialize()\nnet.weight.data()
net = nn.Dense(3)\nnet(nd.ones((1, 2)))
net = nn.Dense(3)\nnet.initialize()\nnet(nd.ones((1, 2)))\n(net.weight.shape, net.weight.data().shape, net.weight.grad().shape)
net = nn.Dense(3, in_units=2)\nnet.initialize(init.One())\n(net.weight.data(), net.bias.data())
net = nn.Dense(3, in_units=2, bias_initializer='ones', weight_initializer=init.Constant(0.5))\nnet.initialize(init.One())\n(net.weight.data(), net.bias.data())
net = nn.Dense(3, in_units=2)\nnet.initialize(init.One())\nnet.initialize(init.Zero())\nnet.weight.data()
net = nn.Dense(3, in_units=2)\nnet.initialize(init.One())\nnet.initialize(init.Zero(), force_reinit=True)\nnet.weight.data()
net = nn.BatchNorm(in_channels=2)\nnet.initialize()\n[p.data() for p in net.collect_params().values()]
net = nn.BatchNorm(in_channels=2)\n[p.grad_req for p in net.collect_params().values()]
net = nn.BatchNorm(scale=False, center=False, in_channels=2)\n[p.grad_req for p in net.collect_params().values()]
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet.collect_params().setattr('grad_req', 'null')\nnet.weight.grad()
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet.collect_params().setattr('lr_mult', 0.5)\nnet.weight.lr_mult
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet.cast('float64')\n(net.weight.dtype, net(nd.ones((1, 2), dtype='float64')).dtype)
net = nn.BatchNorm(in_channels=2)\nnet.initialize()\nnet.cast('float16')\n[str(p.data().dtype) for p in net.collect_params().values()]
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet.weight.set_data(nd.ones((3, 2)) * 4)\nnet.weight.data()
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet.weight.set_data(nd.ones((2, 2)))
net = nn.Dense(3, in_units=2)\nnet.initialize()\nnet(nd.ones((1, 5)))
net = nn.Dense(3, in_units=2)\nnet.initialize(ctx=[mx.cpu(0), mx.cpu(1)])\n([str(c) for c in net.weight.list_ctx()], len(net.weight.list_data()), len(net.weight.list_grad()))
net = nn.Dense(3, in_units=2)\nnet.initialize(ctx=mx.cpu(0))\nnet.weight.data(mx.cpu(1))
net = nn.Dense(3, in_units=2)\nnet.initialize(ctx=mx.cpu(0))\nnet.collect_params().reset_ctx(mx.cpu(1))\nstr(net.weight.data().context)
net = nn.Dense(3, in_units=2)\nstr(net.weight)
net = nn.Dense(3)\nrepr(net)
net = nn.Dense(3, in_units=2, activation='relu')\nrepr(net)
net = nn.HybridSequential()\nnet.add(nn.Dense(3, in_units=2), nn.Dropout(0.5))\nrepr(net)
net = nn.HybridSequential(prefix='q_')\nwith net.name_scope():\n    net.add(nn.Dense(3, in_units=2))\nrepr(net.collect_params())
net = nn.HybridSequential()\nnet.add(nn.Dense(3), nn.Dense(2))\n(len(net), net[1].name, [b.name for b in net], type(net[0:1]).__name__)
p = gluon.Parameter('w', shape=(2, 3))\np.initialize(init.One())\np.data()
p = gluon.Parameter('w', shape=(2, 0))\np.initialize()
p = gluon.Parameter('w', shape=(2, 0), allow_deferred_init=True)\np.initialize()\np.data()
p = gluon.Parameter('w', shape=(2, 3))\np.data()
p = gluon.Parameter('w', shape=(2, 3), grad_req='bad')
p = gluon.Parameter('w', shape=(2, 0))\np.shape = (2, 5)\np.shape
p = gluon.Parameter('w', shape=(2, 3))\np.shape = (2, 5)
p = gluon.Parameter('w', shape=(2, 3))\np.initialize()\nwith autograd.record():\n    y = p.data() * 2\ny.backward()\np.grad()
p = gluon.Parameter('w', shape=(2, 3))\np.initialize()\np.zero_grad()\np.grad()
p = gluon.Constant('c', nd.array([1, 2]))\np.initialize()\n(p.data(), p.grad_req)
d = gluon.ParameterDict('net_')\nw = d.get('w', shape=(2, 3))\n(w.name, list(d), d.prefix)
d = gluon.ParameterDict('net_')\na = d.get('w', shape=(2, 3))\nb = d.get('w', shape=(2, 3))\na is b
d = gluon.ParameterDict('net_')\na = d.get('w', shape=(2, 3))\nb = d.get('w', shape=(2, 4))
d = gluon.ParameterDict('net_')\na = d.get('w', shape=(2, 0))\nb = d.get('w', shape=(2, 4))\na.shape
d = gluon.ParameterDict('net_')\nc = d.get_constant('c', [[1, 2]])\nd.initialize()\n(c.name, c.data())
d = gluon.ParameterDict('a_')\nd.get('w', shape=(1,))\ne = gluon.ParameterDict('b_')\ne.update(d)\nlist(e)
net = nn.Dense(2)\nnet.x = nn.Dense(3)\nnet.x = 5
class Net(gluon.Block):\n    def __init__(self, **kw):\n        super().__init__(**kw)\n        with self.name_scope():\n            self.a = nn.Dense(2)\n            self.b = nn.Dense(3)\n    def forward(self, x):\n        return self.b(self.a(x))\nnet = Net()\n(list(net.collect_params()), list(net._collect_params_with_prefix()))
class Net(gluon.Block):\n    def __init__(self, **kw):\n        super().__init__(**kw)\n        self.a = nn.Dense(2)\nnet = Net(prefix='mine_')\nlist(net.collect_params())
class Net(gluon.HybridBlock):\n    def __init__(self, **kw):\n        super().__init__(**kw)\n        with self.name_scope():\n            self.w = self.params.get('w', shape=(2, 2), init='ones')\n    def hybrid_forward(self, F, x, w):\n        return F.dot(x, w)\nnet = Net()\nnet.initialize()\na = net(nd.ones((1, 2)))\nnet.hybridize()\n(a, net(nd.ones((1, 2))), list(net.collect_params()))
class Net(gluon.HybridBlock):\n    def hybrid_forward(self, F, x, y=None):\n        return x if y is None else x + y\nnet = Net()\nnet.hybridize()\n(net(v), net(v, v))
class Net(gluon.HybridBlock):\n    def hybrid_forward(self, F, x):\n        return x, [x + 1, (x + 2, x + 3)]\nnet = Net()\na = net(v)\nnet.hybridize()\nb = net(v)\n(a, b)
class Net(gluon.HybridBlock):\n    def hybrid_forward(self, F, x, states):\n        return x + states[0], [states[1]]\nnet = Net()\nnet.hybridize()\nnet(v, [v * 2, v * 3])
class Net(gluon.HybridBlock):\n    def hybrid_forward(self, F, x):\n        return F.__name__.rsplit('.', 1)[-1]\nNet()(v)
net = nn.HybridSequential()\nnet.add(gluon.Block())
net = nn.Sequential()\nnet.add(nn.Dense(2))\nnet.hybridize()\nnet.initialize()\nnet(nd.ones((1, 2))).shape
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nnet.hybridize()\nnet.export('never')
calls = []\nnet = nn.Dense(2, in_units=2)\nnet.initialize()\nh = net.register_forward_hook(lambda b, i, o: calls.append((len(i), o.shape)))\nnet(nd.ones((3, 2)))\nh.detach()\nnet(nd.ones((3, 2)))\ncalls
calls = []\nnet = nn.Dense(2, in_units=2)\nnet.initialize()\nnet.register_forward_pre_hook(lambda b, i: calls.append(i[0].shape))\nnet(nd.ones((3, 2)))\ncalls
names = []\nnet = nn.HybridSequential()\nnet.add(nn.Dense(2), nn.Dense(3))\nnet.apply(lambda b: names.append(type(b).__name__))\nnames
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nt = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})\nwith autograd.record():\n    y = net(nd.ones((4, 2)))\ny.backward()\nt.step(4)\n(net.weight.data(), net.bias.data(), t.learning_rate)
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nt = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1, 'wd': 0.5, 'momentum': 0.9})\nfor _ in range(3):\n    with autograd.record():\n        y = net(nd.ones((4, 2)))\n    y.backward()\n    t.step(2)\n(net.weight.data(), net.bias.data())
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nt = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.1})\nfor _ in range(3):\n    with autograd.record():\n        y = net(nd.ones((4, 2)))\n    y.backward()\n    t.step(2)\n(net.weight.data(), net.bias.data())
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nnet.weight.lr_mult = 0.0\nnet.bias.wd_mult = 0.0\nt = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1, 'wd': 1.0})\nwith autograd.record():\n    y = net(nd.ones((4, 2)))\ny.backward()\nt.step(4)\n(net.weight.data(), net.bias.data())
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One(), ctx=[mx.cpu(0), mx.cpu(1)])\nt = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})\nwith autograd.record():\n    ys = [net(nd.ones((n + 1, 2), ctx=mx.cpu(n))) for n in range(2)]\nautograd.backward(ys)\nt.step(3)\n[w for w in net.weight.list_data()]
net = nn.Dense(2, in_units=2)\nnet.initialize(init.One())\nt = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})\nt.set_learning_rate(0.5)\nt.learning_rate
t = gluon.Trainer([], 'sgd')
t = gluon.Trainer(nn.Dense(2).collect_params(), 'nonsense')
net = nn.Dense(2, in_units=2)\nnet.initialize()\nt = gluon.Trainer(net.collect_params(), 'sgd')\nt.step(1)
[a.shape for a in gluon.utils.split_data(nd.ones((5, 2)), 2, even_split=False)]
gluon.utils.split_data(nd.ones((5, 2)), 2)
[str(a.context) for a in gluon.utils.split_and_load(nd.ones((4, 2)), [mx.cpu(0), mx.cpu(1)])]
a = [nd.ones((2,)) * 3, nd.ones((2,)) * 4]\nn = gluon.utils.clip_global_norm(a, 1.0)\n(n, a)
gluon.utils.clip_global_norm([nd.array([0.1])], 1.0)
gluon.model_zoo.vision.get_model('nothing')
net = nn.Embedding(4, 3)\nnet.initialize(init.One())\nnet(nd.array([[0, 1]])).shape
gluon.rnn.LSTM(3).state_info(2)
gluon.rnn.LSTMCell(3).state_info(2)
[s.shape for s in gluon.rnn.LSTM(3, 2, bidirectional=True).begin_state(4)]
[s.shape for s in gluon.rnn.GRUCell(3).begin_state(4)]
gluon.rnn.GRUCell(3).begin_state()[0]
gluon.rnn.LSTM(3, layout='XYZ')
nn.Conv2D(3, 3, layout='NCW')
nn.Conv2D(3)
nn.Dense()
nn.Activation('nonsense')(nd.ones((2,)))
gluon.loss.L2Loss()(nd.ones((2, 3)), nd.zeros((2, 3)))
gluon.loss.L2Loss()(nd.ones((2, 3)), nd.zeros((3, 2)))
gluon.loss.SoftmaxCELoss()(nd.ones((2, 3)), nd.array([0, 1]))
class Net(gluon.HybridBlock):\n    def __init__(self):\n        super().__init__()\n        self.c = self.params.get_constant('c', nd.array([1, 2]))\n    def hybrid_forward(self, F, x, c):\n        return x + c\nnet = Net()\nnet.initialize()\nnet(nd.ones((2,)))"""

ERRORS = r"""nd.foo(v)
nd.relu()
nd.relu(v, v)
nd.relu(v, axis=1)
nd.relu('a')
nd.relu(np.ones((2,)))
nd.reshape(v, shape=(7, 7))
nd.concat(v, m)
nd.dot(m, m)
nd.batch_dot(m, m)
nd.FullyConnected(m, nd.ones((2, 5)), num_hidden=2, no_bias=True)
nd.FullyConnected(m, nd.ones((2, 3)), no_bias=True)
nd.FullyConnected(m, nd.ones((2, 3)), num_hidden=2)
nd.Convolution(m, nd.ones((2, 3)), kernel=(3, 3), num_filter=2)
nd.Activation(m, act_type='nonsense')
nd.Pooling(nd.ones((1, 1, 4, 4)), kernel=(2, 2), pool_type='nonsense')
nd.sum(m, axis=5)
nd.expand_dims(m, axis=9)
nd.transpose(m, axes=(0, 5))
nd.slice_axis(m, axis=0, begin=5, end=9)
nd.take(m, nd.array([9]), mode='raise')
nd.split(m, num_outputs=2, axis=1)
nd.stack(m, v)
nd.topk(m, k=9)
nd.one_hot(v, depth=0)
nd.zeros((-1, 2))
nd.array('abc')
nd.array(None)
nd.cast(m, dtype='nonsense')
m.astype('nonsense')
nd.clip(m)
nd.tile(m, reps=(-1,))
nd.ones((2, 3)) + nd.ones((4,))
nd.broadcast_add(nd.ones((2, 3)), nd.ones((4,)))
nd.where(nd.ones((2,)), nd.ones((3,)), nd.ones((2,)))
nd.elemwise_mul(m, v)
nd.linalg.potrf(nd.array([[1, 2], [2, 1]], dtype='float64')).asnumpy().shape
nd.load('/no/such/file')
sym.load('/no/such/file')
sym.Variable(5)
sym.relu(sym.Variable('a'), sym.Variable('b'))
sym.relu(v)
sym.Variable('a').infer_shape(b=(1,))
(sym.Variable('a') + sym.Variable('b')).infer_shape(a=(1,), b=(2,))
sym.FullyConnected(sym.Variable('a'), num_hidden=3, name='f').infer_shape(f_weight=(3, 4))
sym.FullyConnected(sym.Variable('a'), num_hidden=3, name='f').eval(a=m)
sym.Variable('a').eval(a=v)
(sym.Variable('a') * 2).eval(a=v)
bool(sym.Variable('a'))
len(sym.SliceChannel(sym.Variable('a'), num_outputs=3))
sym.Variable('a')['b']
sym.load_json('nonsense')
mx.cpu('a')
mx.Context('tpu')
mx.gpu(0) == mx.gpu(0)
init.Xavier(factor_type='nonsense')
mx.init.create('nonsense')
mx.optimizer.create('nonsense')
mx.metric.create('nonsense')
mx.metric.Accuracy().update([v], [m])
mx.kv.create('nonsense')
mx.lr_scheduler.FactorScheduler(step=0)
mx.lr_scheduler.MultiFactorScheduler(step=[3, 1])"""

EXECUTORS = r"""s = sym.FullyConnected(sym.Variable('data'), num_hidden=2, name='fc')\ne = s.simple_bind(mx.cpu(), data=(2, 3))\n(sorted(e.arg_dict), [a.shape for a in e.arg_arrays], sorted(e.grad_dict), len(e.outputs), e.outputs[0].shape)
s = sym.Variable('a') * sym.Variable('b')\ne = s.bind(mx.cpu(), {'a': v, 'b': v + 1})\ne.forward()[0]
s = sym.Variable('a') * sym.Variable('b')\ng = {'a': nd.zeros((5,)), 'b': nd.zeros((5,))}\ne = s.bind(mx.cpu(), {'a': v, 'b': v + 1}, args_grad=g)\ne.forward(is_train=True)\ne.backward(nd.ones((5,)))\n(g['a'], g['b'], e.grad_dict['a'])
s = sym.Variable('a') * 2\ng = {'a': nd.ones((5,))}\ne = s.bind(mx.cpu(), {'a': v}, args_grad=g, grad_req='add')\ne.forward(is_train=True)\ne.backward(nd.ones((5,)))\ng['a']
s = sym.Variable('a') * 2\ne = s.bind(mx.cpu(), [v])\ne.forward(a=v * 10)[0]
s = sym.SoftmaxOutput(sym.FullyConnected(sym.Variable('data'), num_hidden=2, name='fc'), name='softmax')\ne = s.simple_bind(mx.cpu(), data=(2, 3))\nfor k in e.arg_dict:\n    e.arg_dict[k][:] = 0.5\ne.arg_dict['softmax_label'][:] = 1\ne.forward(is_train=True)\ne.backward()\n(e.outputs[0], e.grad_dict['fc_weight'])
s = sym.BatchNorm(sym.Variable('data'), name='bn', fix_gamma=False)\ne = s.simple_bind(mx.cpu(), data=(4, 2))\ne.arg_dict['data'][:] = nd.arange(8).reshape((4, 2))\ne.arg_dict['bn_gamma'][:] = 1\ne.forward(is_train=True)\ne.backward(nd.ones((4, 2)))\n(sorted(e.aux_dict), e.outputs[0], e.aux_dict['bn_moving_mean'])
s = sym.Group([sym.Variable('a') * 2, sym.Variable('a') + 1])\n[o for o in s.eval(a=v)]
s = sym.Variable('a') * 2\ns.eval(ctx=mx.cpu(), a=v)[0]
s = sym.Group([sym.relu(sym.Variable('a'), name='r'), sym.tanh(sym.Variable('b'), name='t')])\n(s.list_outputs(), s['r_output'].list_arguments(), s[1].list_arguments(), len(s), [o.name for o in s])
s = sym.relu(sym.FullyConnected(sym.Variable('a'), num_hidden=2, name='f'), name='r')\n(s.get_internals().list_outputs(), s.get_children().list_outputs(), s.get_internals()['f_output'].name, sym.Variable('q').get_children())
sym.Variable('a', shape=(2, 3), dtype='float64', lr_mult=2.0, wd_mult=0.1, init=init.One()).attr_dict()
sym.Variable('a', shape=(2, 3)).attr('__shape__')
sym.FullyConnected(sym.Variable('a'), num_hidden=3, name='f').list_attr()
s = sym.FullyConnected(sym.Variable('a'), num_hidden=3, name='f')\ns.infer_type(a='float64')
s = sym.cast(sym.Variable('a'), dtype='int32', name='c')\ns.infer_type(a='float32')
with mx.AttrScope(ctx_group='dev1', __x__='1'):\n    a = sym.Variable('a')\n(a.attr('ctx_group'), a.list_attr())
with mx.name.Prefix('p_'):\n    s = sym.relu(sym.Variable('a'))\ns.name
repr(sym.relu(sym.Variable('a'), name='r'))
repr(sym.Group([sym.Variable('a'), sym.Variable('b')]))
a = sym.Variable('a')\ns = a + a\ns.list_arguments()
import copy\na = sym.relu(sym.Variable('a'), name='r')\nb = copy.copy(a)\n(b.name, b.list_arguments())
s = sym.relu(sym.Variable('a'), name='r')\nsym.load_json(s.tojson()).list_outputs()
s = sym.Variable('data')\nnet = gluon.SymbolBlock(sym.FullyConnected(s, num_hidden=2, name='fc'), s)\nnet.initialize(init.One())\n(net(nd.ones((1, 3))), list(net.collect_params()))
net = nn.HybridSequential(prefix='n_')\nwith net.name_scope():\n    net.add(nn.Dense(2), nn.BatchNorm(), nn.Activation('relu'))\ns = net(sym.Variable('data'))\n(s.list_arguments(), s.list_auxiliary_states(), s.list_outputs(), s.get_internals().list_outputs())
net = nn.HybridSequential(prefix='n_')\nwith net.name_scope():\n    net.add(nn.Conv2D(2, 3), nn.MaxPool2D(), nn.Dense(2, activation='tanh'), nn.LeakyReLU(0.1), nn.PReLU())\ns = net(sym.Variable('data'))\ns.get_internals().list_outputs()
cell = rnn.LSTMCell(3, prefix='l_')\no, st = cell(sym.Variable('x'), [sym.Variable('h'), sym.Variable('c')])\n(o.list_arguments(), o.get_internals().list_outputs())
cell = rnn.GRUCell(3, prefix='l_')\no, st = cell.unroll(2, sym.Variable('x'), layout='NTC', merge_outputs=True)\no.list_arguments()
loss = gluon.loss.SoftmaxCELoss(prefix='l_')\nloss(sym.Variable('p'), sym.Variable('y')).get_internals().list_outputs()
def body(d, s):\n    return d + s, d * s\nout, st = sym.contrib.foreach(body, sym.Variable('d'), sym.Variable('s'))\n(out.eval(d=v, s=nd.ones((1,))), sym.Group([out, st]).list_arguments())"""

GROUPS = {
    name: [line.replace("\\n", "\n") for line in text.split("\n")]
    for name, text in {
        "read": READ, "write": WRITE, "arithmetic": ARITHMETIC, "methods": METHODS, "creation": CREATION, "autograd": AUTOGRAD,
        "gluon": GLUON, "errors": ERRORS, "executors": EXECUTORS,
    }.items()
}  # fmt: skip
